"""Windows and averages of videos: cuts, gaps, flat images, long windows, and files that are broken."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import make_photo, run_and_measure
from tfmlc.data import blur_windows
from tfmlc.data.datasets.triplets import find_triplets
from tfmlc.data.synthesis import videos as films_module
from tfmlc.data.synthesis.interpolation import interpolated
from tfmlc.data.synthesis.manifest import MANIFEST, read_manifest
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.data.synthesis.videos import VideoBlurConfig, video_windows
from tfmlc.data.synthesis.windows import WindowFinder
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.io.video import find_videos, read_frames

Frames = list[np.ndarray]


FRAMES = SetConfig(kind="triplets", images="frames")


def wall(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (40, 180, 3), dtype=np.uint8), (720, 160), interpolation=cv2.INTER_CUBIC)


def pan(count: int, step: int = 3, seed: int = 0) -> Frames:
    return [wall(seed)[:, (step * t) % 500 : (step * t) % 500 + 200].copy() for t in range(count)]


def write_frames(folder: Path, frames: Frames, first: int = 0) -> Path:
    for index, frame in enumerate(frames, first):
        write_image(folder / f"{index}.png", Image(frame))  # 9 before 10 only in natural order
    return folder


def with_variable_frame_rate(content: bytes) -> bytes:
    """An MP4 file whose every fourth frame lasts five times as long: its table of times (stts) is written anew."""
    place = content.index(b"stts") - 4
    (length,) = struct.unpack_from(">I", content, place)
    _, count, ticks = struct.unpack_from(">III", content, place + 12)
    rows = b"".join(struct.pack(">II", 1, ticks * (1 if number % 4 else 5) // 2) for number in range(count))
    box = struct.pack(">I4sII", 16 + len(rows), b"stts", 0, count) + rows
    changed = bytearray(content[:place] + box + content[place + length :])
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):  # they hold it, and lie behind the frames
        start = content.index(parent) - 4
        struct.pack_into(">I", changed, start, struct.unpack_from(">I", content, start)[0] + len(box) - length)
    return bytes(changed)


def write_video(path: Path, frames: Frames) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


class TestWindows:
    def test_do_not_overlap_and_hold_both_conditions(self) -> None:
        for minimum in (2, 15, 20):
            windows = list(blur_windows(pan(90), min_frames=minimum, min_displacement_px=40))
            assert windows
            assert all(w.stop - w.start >= minimum and w.displacement_px >= 40 for w in windows)
            assert all(a.stop == b.start for a, b in pairwise(windows))

    def test_what_the_end_cuts_short_is_dropped(self) -> None:
        assert [w.stop for w in blur_windows(pan(29))] == [15]
        assert list(blur_windows(pan(14))) == []
        assert list(blur_windows(pan(1))) == []
        assert list(blur_windows([])) == []

    def test_static_and_black_films_have_no_motion(self) -> None:
        assert list(blur_windows([pan(1)[0]] * 60)) == []
        assert list(blur_windows([np.zeros((40, 60, 3), np.uint8)] * 60)) == []

    def test_a_flat_beginning_is_no_motion_and_corners_are_sought_again(self) -> None:
        flat = [np.full((160, 200, 3), 128, np.uint8)] * 10
        finder = WindowFinder()
        for frame in flat:
            finder.push(frame)
        assert finder.displacement_px == 0
        grey = [frame // 16 + 120 for frame in pan(30)]  # colours near the flat ones: no cut
        windows = [window for frame in grey if (window := finder.push(frame)) is not None]
        assert windows
        assert windows[0].start == 0

    def test_a_cut_starts_a_new_window(self, shared: Path) -> None:
        bikes = list(read_frames(find_videos([shared / "data" / "video" / "bikes.mp4"])[0]))
        finder = WindowFinder(min_frames=5)
        windows = [w for frame in bikes if frame is not None and (w := finder.push(frame)) is not None]
        assert finder.cuts == [30, 76, 137, 187, 242]  # frame 29 is the last of the first scene
        assert all(not w.start < cut < w.stop for w in windows for cut in finder.cuts)

    def test_a_cut_between_scenes_of_like_colours(self) -> None:
        finder = WindowFinder()
        for frame in [*pan(20), *pan(20, seed=5)]:
            finder.push(frame)
        assert finder.cuts == [20]

    def test_violent_motion_is_no_cut(self, shared: Path) -> None:
        finder = WindowFinder()
        for frame in read_frames(find_videos([shared / "data" / "video" / "handheld_cup.mp4"])[0]):
            assert frame is not None
            finder.push(frame)
        assert finder.cuts == []

    def test_frames_of_another_form_are_refused(self) -> None:
        for frame in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)):
            with pytest.raises(UserError, match="RGB uint8 h w 3"):
                list(blur_windows([frame]))
        with pytest.raises(UserError, match="frame 1 is 30x20, but the frames before are 20x10"):
            list(blur_windows([np.zeros((10, 20, 3), np.uint8), np.zeros((20, 30, 3), np.uint8)]))


class TestAverages:
    @pytest.mark.parametrize("kept_bytes", [0, 5 * 160 * 200 * 3, 2**30])
    @pytest.mark.parametrize(("light", "power"), [("stored", 1.0), ("linear", 2.2)])
    def test_equal_to_means_over_all_frames(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, light: str, power: float
    ) -> None:
        monkeypatch.setattr(films_module, "KEPT_BYTES", kept_bytes)
        frames = pan(50, step=2)
        video = find_videos([write_frames(tmp_path / "video", frames)])[0]
        config = VideoBlurConfig(min_frames=11, levels=3, light=light)  # type: ignore[arg-type]
        found = list(video_windows(video, config))
        assert len(found) > 1
        for one in found:
            window = one.window
            sharp, *levels = one.average()
            assert np.array_equal(sharp, frames[window.sharp])
            for number, image in enumerate(levels, 1):
                start, stop = window.level(number, 3)
                values = np.stack(frames[start:stop]).astype(float)
                values = values if light == "stored" else (values / 255) ** power
                mean = values.mean(axis=0)
                mean = np.rint(mean if light == "stored" else mean ** (1 / power) * 255)
                assert np.abs(image - mean).max() <= (0 if light == "stored" else 1)

    def test_levels_are_ordered_by_blur(self, tmp_path: Path) -> None:
        video = find_videos([write_frames(tmp_path / "video", pan(40))])[0]
        images = next(video_windows(video, VideoBlurConfig(levels=4))).average()
        detail = [np.abs(np.diff(image.astype(float), axis=1)).mean() for image in images]
        assert detail == sorted(detail, reverse=True)

    def test_interpolation_is_between_its_neighbours(self) -> None:
        coarse, fine = pan(4, step=4), pan(16, step=1)
        made = list(interpolated(coarse, 4))
        assert len(made) == 13
        inner = (slice(10, -10), slice(10, -10))
        for index, frame in enumerate(made):
            assert frame is not None
            better = np.abs(frame[inner].astype(int) - fine[index][inner]).mean()
            nearest = np.abs(coarse[round(index / 4)][inner].astype(int) - fine[index][inner]).mean()
            assert better <= max(nearest * 0.5, 0.01)

    def test_nothing_is_made_up_across_a_cut_or_a_gap(self) -> None:
        one, other = pan(1)[0] // 4, 255 - pan(1, seed=1)[0] // 4
        made = list(interpolated([one, other, None, one], 3))
        assert [None if frame is None else int(frame.mean()) for frame in made] == [
            int(one.mean()), int(one.mean()), int(one.mean()), int(other.mean()), None, int(one.mean())
        ]  # fmt: skip


class TestSets:
    @pytest.mark.multiprocess
    def test_triplets_of_a_video_and_a_folder(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "in" / "scene" / "b", pan(31))
        write_video(tmp_path / "in" / "a.mp4", pan(45))
        summary = synthesize([tmp_path / "in"], tmp_path / "out", FRAMES, workers=2)
        assert (summary.made, summary.kept, summary.errors) == (5, 0, [])
        settings, rows = read_manifest(tmp_path / "out")
        assert settings["folders"] == ["sharp", "weak", "strong"]
        made = [row for row in rows if row["files"]]
        assert {row["video"] for row in made} == {"a", "scene-b"}
        for row in made:
            assert [Path(name).parts[0] for name in row["files"]] == settings["folders"]
            assert row["levels"][-1] == row["window"]
            assert row["displacement_px"] >= 25
        assert read_rgb8(tmp_path / "out" / "sheet.png").shape[1] > 700
        assert synthesize([tmp_path / "in"], tmp_path / "out", FRAMES).kept == 5

    def test_a_rerun_finishes_what_is_missing(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(50))
        synthesize([tmp_path / "video"], tmp_path / "out", FRAMES, workers=1)
        content = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
        (tmp_path / "out" / "weak" / "video" / "000002.png").unlink()
        again = synthesize([tmp_path / "video"], tmp_path / "out", FRAMES, workers=1)
        assert (again.made, again.kept) == (1, 2)

        lines = (tmp_path / "out" / MANIFEST).read_text().splitlines()
        kept = [line for line in lines if "windows" not in json.loads(line)]
        (tmp_path / "out" / MANIFEST).write_text("\n".join(kept) + "\n")  # as after a run that was killed
        again = synthesize([tmp_path / "video"], tmp_path / "out", FRAMES, workers=1)
        assert (again.made, again.kept) == (0, 3)
        assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == content

    def test_a_set_of_an_earlier_version_is_read_and_finished(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(50))
        synthesize([tmp_path / "video"], tmp_path / "out", FRAMES, workers=1)
        manifest = tmp_path / "out" / MANIFEST
        settings, *rows = manifest.read_text().splitlines()
        former = [
            settings.replace('"video": {', '"film": {'),
            *(row.replace('"video": "', '"clip": "') for row in rows),
        ]
        manifest.write_text("\n".join(former) + "\n")
        assert '"film"' in former[0] and '"clip"' in former[1]  # noqa: PT018
        assert {triplet.video for triplet in find_triplets(tmp_path / "out")} == {"video"}
        assert synthesize([tmp_path / "video"], tmp_path / "out", FRAMES, workers=1).kept == 3

    def test_disk_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from tfmlc.data.synthesis import making as synthesis

        write_frames(tmp_path / "video", pan(75))
        real, count = synthesis.write_image, [0]

        def full(path: Path, image: Image, **settings: bool) -> list[str]:
            count[0] += 1
            if count[0] > 7:
                raise UserError(f"cannot write {path}: No space left on device; nothing was changed")
            return real(path, image, **settings)

        monkeypatch.setattr(synthesis, "write_image", full)
        video = find_videos([tmp_path / "video"])[0]
        names = ("sharp", "weak", "strong")
        made = synthesis.make_video(
            video, output=tmp_path / "out", names=names, config=VideoBlurConfig(), whole=frozenset()
        )
        assert made.error is not None
        assert "No space left" in made.error
        assert [row["name"] for row in made.rows] == ["video/000001.png", "video/000002.png"]

    def test_pairs_of_a_film_and_photos_at_once(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        write_video(folder / "a.mp4", pan(20))
        write_image(folder / "photo.png", Image(make_photo(60, 80)))
        summary = synthesize([folder], tmp_path / "out", SetConfig(kind="pairs", images="photos"), workers=1)
        assert (summary.made, summary.errors) == (2, [])
        assert (tmp_path / "out" / "blur" / "a" / "000001.png").is_file()
        assert (tmp_path / "out" / "blur" / "photo" / "000001.png").is_file()

    def test_triplets_of_stills(self, tmp_path: Path) -> None:
        write_image(tmp_path / "photos" / "one.png", Image(make_photo(90, 120)))
        synthesize(
            [tmp_path / "photos"], tmp_path / "out", SetConfig(kind="triplets", images="photos", per_photo=2), workers=1
        )
        for number in (1, 2):
            sharp, weak, strong = (
                read_rgb8(tmp_path / "out" / name / "one" / f"00000{number}.png").astype(float)
                for name in ("sharp", "weak", "strong")
            )
            assert np.abs(weak - sharp).mean() < np.abs(strong - sharp).mean()

    def test_another_source_of_the_same_name(self, tmp_path: Path) -> None:
        for folder in ("x", "y"):
            write_frames(tmp_path / folder / "video", pan(16))
        synthesize([tmp_path / "x" / "video"], tmp_path / "out", FRAMES, workers=1)
        with pytest.raises(UserError, match=r"from which .* was made"):
            synthesize([tmp_path / "y" / "video"], tmp_path / "out", FRAMES, workers=1)

    def test_output_inside_the_input(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(16))
        (tmp_path / "notes.txt").write_text("not a video")
        for made in (1, 0):
            summary = synthesize([tmp_path], tmp_path / "out", FRAMES, workers=1)
            assert (summary.made, summary.kept) == (made, 1 - made)


class TestBadFilms:
    def refuse(self, path: Path, message: str, **settings: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            list(read_frames(find_videos([path])[0], **settings))  # type: ignore[arg-type]
        assert "\n" not in str(error.value)

    def test_not_a_video(self, tmp_path: Path) -> None:
        (tmp_path / "note.mp4").write_text("no video")
        self.refuse(tmp_path / "note.mp4", "cannot be decoded")
        (tmp_path / "empty.mp4").touch()
        self.refuse(tmp_path / "empty.mp4", "cannot be decoded")
        (tmp_path / "note.txt").write_text("no video")
        with pytest.raises(UserError, match="is not a video"):
            find_videos([tmp_path / "note.txt"])
        with pytest.raises(UserError, match="there is no file or folder"):
            find_videos([tmp_path / "missing.mp4"])

    def test_cut_off(self, tmp_path: Path) -> None:
        content = write_video(tmp_path / "a.avi", pan(60)).read_bytes()
        (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
        told: list[str] = []
        frames = list(read_frames(find_videos([tmp_path / "a.avi"])[0], on_bad="skip", tell=told.append))
        assert 0 < len(frames) < 60

    def test_one_frame(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", pan(1))
        summary = synthesize([tmp_path / "a.mp4"], tmp_path / "out", FRAMES, workers=1)
        assert (summary.made, summary.errors) == (0, [])
        assert "has no window" in summary.remarks[0]

    def test_changing_size(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", [*pan(2), make_photo(20, 30)])
        self.refuse(tmp_path / "video", r"2\.png is 30x20, the frames before are 200x160")

    def test_mixed_names(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(2))
        write_image(tmp_path / "video" / "cover.png", Image(pan(1)[0]))
        write_image(tmp_path / "video" / "x7.png", Image(pan(1)[0]))
        self.refuse(tmp_path / "video", "mixes names")

    def test_gaps_restart_the_window(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(10))
        write_frames(tmp_path / "video", pan(16), first=14)
        (tmp_path / "video" / "notes.txt").write_text("not a frame")
        told: list[str] = []
        video = find_videos([tmp_path / "video"])[0]
        found = list(video_windows(video, VideoBlurConfig(), told.append))
        assert [one.window.start for one in found] == [10]  # the eleventh frame there is
        assert told == [f"{tmp_path / 'video'}: frames 10 to 13 are missing"]

    def test_a_frame_that_cannot_be_read(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "video", pan(34))
        (tmp_path / "video" / "3.png").write_bytes(b"broken")
        self.refuse(tmp_path / "video", r"3\.png")
        told: list[str] = []
        video = find_videos([tmp_path / "video"])[0]
        found = list(video_windows(video, VideoBlurConfig(on_bad="skip"), told.append))
        assert [one.window.start for one in found] == [3, 18]
        assert len(told) == 1

    def test_two_films_of_one_name(self, tmp_path: Path) -> None:
        for folder in ("x", "y"):
            write_frames(tmp_path / folder / "video", pan(1))
        with pytest.raises(UserError, match="have the same name"):
            find_videos([tmp_path / "x" / "video", tmp_path / "y" / "video"])


@pytest.mark.multiprocess
def test_memory_does_not_grow_with_the_window(tmp_path: Path) -> None:
    write_frames(tmp_path / "video", [frame.repeat(4, 0).repeat(4, 1) for frame in pan(10, step=1)])
    script = (
        "import sys; from pathlib import Path; from tfmlc.io.video import Video\n"
        "from tfmlc.data.synthesis import videos as videos\n"
        "videos.KEPT_BYTES = 10 * 2**20\n"
        "names = tuple(f'{(i // 10 % 2) * 9 + (1 - 2 * (i // 10 % 2)) * (i % 10)}.png' for i in range(160))\n"
        "videos.read_frames = lambda video, **_: (films_read(n) for n in names)\n"
        "from tfmlc.io.images import read_rgb8\n"
        "films_read = lambda n: read_rgb8(Path(sys.argv[1]) / n)\n"
        "config = videos.VideoBlurConfig(min_frames=int(sys.argv[2]), min_displacement_px=0)\n"
        "found = videos.video_windows(Video(Path(sys.argv[1]), 'video', names), config)\n"
        "print(sum(bool(window.average()) for window in found))\n"
    )
    peaks: dict[int, float] = {}
    for frames, windows in ((15, 10), (150, 1)):
        count, peaks[frames] = run_and_measure("-c", script, str(tmp_path / "video"), str(frames))
        assert int(count) == windows
    assert peaks[150] < peaks[15] + 30  # one frame is 1.5 MiB: keeping 135 more would take 200


def test_a_variable_frame_rate_is_told(tmp_path: Path) -> None:
    even = write_video(tmp_path / "even.mp4", pan(40))
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(with_variable_frame_rate(even.read_bytes()))
    for path, lines in ((even, 0), (odd, 1)):
        said: list[str] = []
        assert len(list(read_frames(find_videos([path])[0], tell=said.append))) == 40
        assert len([line for line in said if "odd.mp4 has a variable frame rate" in line]) == lines
        assert len(said) == lines


def test_films_of_one_name_beside_photos(tmp_path: Path) -> None:
    for day in ("one", "two"):
        write_image(tmp_path / "in" / day / "photo.png", Image(make_photo(230, 240)))
        write_video(tmp_path / "in" / day / "video.mp4", pan(20))
    made = synthesize([tmp_path / "in"], tmp_path / "out", SetConfig(kind="pairs", images="photos"), workers=1)
    assert not made.errors
    scenes = {path.name for path in (tmp_path / "out" / "blur").iterdir()}
    assert scenes == {"one-video", "two-video", "one-photo", "two-photo"}
