"""A restored video keeps everything but its blur: frames, times, sound, rotation, colours, depth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tfmlc[video]'")

import av

from clips import Clip, view, write_clip
from conftest import make_photo, small_network
from tfmlc.cli import app
from tfmlc.deblur import Deblurrer, VideoSettings, deblur_video, pieces, temporal, video
from tfmlc.deblur.batch import Outcome, plan_batch, run_batch
from tfmlc.deblur.marks import mark_of
from tfmlc.deblur.pieces import folder_of
from tfmlc.deblur.temporal import RestoredFrame, smoothed
from tfmlc.errors import UserError
from tfmlc.io.files import MACHINE, TEMPORARY, replaced
from tfmlc.io.images import Image, read_image, write_image
from tfmlc.io.locks import folder_lock
from tfmlc.io.video import read_properties
from tfmlc.io.video.by_pyav import decode, decode_stored
from tfmlc.io.video.pixels import to_rgb, with_changes
from tfmlc.networks import Network

VFR = (0, 512, 700, 1900, 2412, 2413, 4000, 9000, 9512)
PHONE = Clip(rotation=-90, colours=(2, 9, 1, 9), pts=VFR)


class Nothing(Network):
    """A network that returns its input, and lists the frames it was given."""

    def __init__(self) -> None:
        super().__init__(step=1, floats_per_px=3)
        self.seen = 0
        self.fails_at: int | None = None
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.seen += 1
        if self.seen == self.fails_at:
            raise KeyboardInterrupt
        return (blurry,)


@pytest.fixture(scope="module")
def deblurrer() -> Deblurrer:
    return Deblurrer(small_network(), precision="fp32")


def frames_of(path: Path) -> list[Any]:
    return list(decode_stored(path))


def times_of(path: Path) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in frames_of(path)]


def packets_of(path: Path, kind: str) -> list[list[tuple[Fraction, Fraction, str]]]:
    """Of each stream of a kind: the time, the duration and a hash of every packet."""
    streams: dict[int, list[tuple[Fraction, Fraction, str]]] = defaultdict(list)
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.stream.type == kind:
                base = packet.time_base
                digest = hashlib.sha256(bytes(packet)).hexdigest()
                streams[packet.stream.index].append(((packet.pts or 0) * base, (packet.duration or 0) * base, digest))
    return list(streams.values())


def run(deblurrer: Deblurrer, *inputs: Path, output: Path | None = None) -> dict[str, Outcome]:
    batch = plan_batch(inputs, output, in_place=output is None)
    return {outcome.job.source.name: outcome for outcome in run_batch(deblurrer, batch)}


# What is kept.


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.mp4", Clip()),
        ("vfr.mp4", Clip(pts=VFR)),
        ("phone.mov", PHONE),
        ("phone.mp4", replace(PHONE, rotation=180, subtitles="mov_text")),
        ("subtitled.mkv", Clip(subtitles="subrip", sound="libmp3lame")),
        ("deep.mp4", Clip(codec="libx265", pix_fmt="yuv420p10le", colours=(1, 9, 14, 9))),
        ("hlg.mov", Clip(codec="libx265", pix_fmt="yuv420p10le", colours=(1, 9, 18, 9), rotation=90)),
        ("full.mp4", Clip(pix_fmt="yuv422p", colours=(2, 1, 13, 1))),
        ("silent.mp4", Clip(sound=None)),
        ("one.mp4", Clip(pts=(0,))),
        ("late.mp4", Clip(pts=(5000, 5512, 6024))),
        ("odd.webm", Clip(65, 49, codec="libvpx-vp9", sound="libopus")),
        ("grey.mp4", Clip(pix_fmt="gray", sound="flac")),
        ("raw.mov", Clip(sound="pcm_s16le", colours=(1, 6, 6, 6))),
    ],
)
def test_everything_but_the_blur_is_kept(tmp_path: Path, deblurrer: Deblurrer, name: str, clip: Clip) -> None:
    source, target = write_clip(tmp_path / name, clip), tmp_path / "out" / name
    result = deblur_video(source, target, deblurrer=deblurrer)
    assert result.notes == ()
    assert result.frames == len(clip.pts) == len(frames_of(target))
    assert times_of(target) == times_of(source)
    for kind in ("audio", "subtitle"):
        assert packets_of(target, kind) == packets_of(source, kind)
    before, after = read_properties(source), read_properties(target)
    kept = ("codec", "width", "height", "pix_fmt", "depth", "time_base", "colours", "pixel_aspect", "display_matrix")
    assert {key: getattr(after, key) for key in kept} == {key: getattr(before, key) for key in kept}
    assert frames_of(target)[0].rotation == frames_of(source)[0].rotation
    with av.open(str(target)) as container:
        assert {key.lower(): value for key, value in container.metadata.items()}["title"] == "Rome"
    assert sorted(path.name for path in target.parent.iterdir()) == [name]


@pytest.mark.parametrize("colours", [(1, 1, 1, 1), (2, 1, 1, 1), (1, 6, 6, 6), (2, 9, 14, 9), (0, 2, 2, 2)])
@pytest.mark.parametrize(("pix_fmt", "codec"), [("yuv420p", "libx264"), ("yuv422p10le", "libx265")])
def test_the_pixels_change_only_by_the_network(
    tmp_path: Path, colours: tuple[int, int, int, int], pix_fmt: str, codec: str
) -> None:
    """What a network does not change is exact, for each range and matrix; what it changes is right."""
    source = write_clip(tmp_path / "a.mkv", Clip(64, 48, (0, 512), codec, pix_fmt, colours, sound=None))
    stored = frames_of(source)[0]
    video, pixels = read_properties(source), to_rgb(stored)
    same = with_changes(stored, pixels, pixels, video)
    for before, after in zip(stored.planes, same.planes, strict=True):
        lines = [
            np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in (before, after)
        ]
        assert np.array_equal(*lines)
    assert (same.color_range, same.color_primaries, same.color_trc, same.colorspace) == video.colours
    lighter = (pixels * 0.8 + 0.1 * np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    level = np.iinfo(pixels.dtype).max / 255
    changed = to_rgb(with_changes(stored, pixels, lighter, video))
    assert np.abs(changed.astype(float) - lighter).mean() / level < 3


# A stopped run goes on, and equals one that was not stopped.


@pytest.mark.parametrize("temporal", [0.0, 0.7])
@pytest.mark.parametrize("stop_at", [2, 5, 9])
def test_stopped_and_resumed_equals_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporal: float, stop_at: int
) -> None:
    monkeypatch.setattr(pieces, "FRAMES", 3)
    monkeypatch.setattr("tfmlc.deblur.video.FRAMES", 3)
    source = write_clip(tmp_path / "a.mp4", Clip(pts=VFR))
    settings, network = VideoSettings(temporal=temporal), Nothing()
    deblur_video(source, tmp_path / "whole.mp4", deblurrer=Deblurrer(network), settings=settings)
    target = tmp_path / "stopped.mp4"
    network.seen, network.fails_at = 0, stop_at
    with pytest.raises(KeyboardInterrupt):
        deblur_video(source, target, deblurrer=Deblurrer(network), settings=settings)
    assert not target.exists()
    network.seen, network.fails_at = 0, None
    shown: list[int] = []
    monkeypatch.setattr("tfmlc.deblur.tiled.largest_tile_px", lambda *_: 32)  # less memory is free now
    result = deblur_video(
        source, target, deblurrer=Deblurrer(network), settings=settings, on_frame=lambda done, _: shown.append(done)
    )
    finished = (stop_at - 1 - (temporal > 0)) // 3 * 3
    assert network.seen == len(VFR) - finished + (temporal > 0 and finished > 0)
    assert shown == list(range(finished, len(VFR) + 1))
    assert result.frames == len(VFR)
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not folder_of(target).exists()


def test_what_a_killed_run_left_half_joined_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    folder = folder_of(target)
    folder.mkdir()
    (folder / f"{TEMPORARY}{os.getpid()}-0a1b2c3d-{MACHINE}").touch()
    real, places = video.join, list[Path]()
    monkeypatch.setattr(video, "join", lambda *given: (places.append(given[2].parent), real(*given)))
    deblur_video(source, target, deblurrer=Deblurrer(Nothing()))
    assert places == [folder]
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}


@pytest.mark.parametrize("in_place", [True, False])
def test_the_pieces_of_a_video_that_is_done_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """A run can be killed after its result has its name, and before it removes the pieces."""
    (tmp_path / "in").mkdir()
    source, output = write_clip(tmp_path / "in" / "a.mp4"), tmp_path / "out"
    target, network = source if in_place else output / "a.mp4", Nothing()
    with monkeypatch.context() as killed:
        killed.setattr("tfmlc.deblur.video.replaced", interrupted_at_its_end)
        with pytest.raises(KeyboardInterrupt):
            run(Deblurrer(network), source.parent, output=None if in_place else output)
    assert (folder_of(target) / "plan.json").exists()
    (outcome,) = run(Deblurrer(network), source.parent, output=None if in_place else output).values()
    assert (outcome.done_before, network.seen) == (True, 10)
    assert [path.name for path in target.parent.iterdir()] == ["a.mp4"]


@contextmanager
def interrupted_at_its_end(path: Path, **options: Any) -> Iterator[Path]:
    with replaced(path, **options) as temporary:
        yield temporary
    raise KeyboardInterrupt


def test_pieces_of_other_settings_are_not_used(tmp_path: Path) -> None:
    source, target, network = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", Nothing()
    network.fails_at = 8
    for number in range(2):
        with pytest.raises(KeyboardInterrupt):
            deblur_video(source, target, deblurrer=Deblurrer(network), settings=VideoSettings(quality=20 + number))
        assert network.seen == 8
        network.seen = 0
    network.fails_at = None
    deblur_video(source, target, deblurrer=Deblurrer(network))
    assert network.seen == 10


def test_a_damaged_piece_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a piece can hold zeros beside the record that says it is complete."""
    monkeypatch.setattr(pieces, "FRAMES", 3)
    monkeypatch.setattr("tfmlc.deblur.video.FRAMES", 3)
    source, target, network = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", Nothing()
    deblur_video(source, tmp_path / "whole.mp4", deblurrer=Deblurrer(network))
    network.seen, network.fails_at = 0, 10
    with pytest.raises(KeyboardInterrupt):
        deblur_video(source, target, deblurrer=Deblurrer(network))
    damaged = folder_of(target) / "000001.mkv"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    network.fails_at = None
    deblur_video(source, target, deblurrer=Deblurrer(network))
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("other", ["a field more", "a field less", "another type", "another version"])
def test_pieces_of_another_version_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setattr("tfmlc.deblur.video.FRAMES", 3)
    source, target, network = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", Nothing()
    network.fails_at = 10
    with pytest.raises(KeyboardInterrupt):
        deblur_video(source, target, deblurrer=Deblurrer(network))
    file = folder_of(target) / "000001.json"
    record = json.loads(file.read_text())
    changes = {"a field more": {"new": 1}, "a field less": {"times": None}, "another type": {"frames": "x"}}
    changed = {key: value for key, value in {**record, **changes.get(other, {})}.items() if value is not None}
    file.write_text(json.dumps(changed))
    if other == "another version":
        monkeypatch.setattr(pieces, "version_of", lambda _: "9.9")
    network.seen, network.fails_at = 0, None
    assert deblur_video(source, target, deblurrer=Deblurrer(network)).frames == 10
    assert network.seen >= (10 if other == "another version" else 7)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_the_pieces_of_a_video_are_private(tmp_path: Path) -> None:
    source, target, network = write_clip(tmp_path / "a.mp4"), tmp_path / "new" / "b.mp4", Nothing()
    network.fails_at = 5
    before = os.umask(0o022)
    try:
        with pytest.raises(KeyboardInterrupt):
            deblur_video(source, target, deblurrer=Deblurrer(network))
        network.fails_at = None
        modes = [folder_of(target).stat().st_mode, target.parent.stat().st_mode]
        deblur_video(source, target, deblurrer=Deblurrer(network))
    finally:
        os.umask(before)
    assert [oct(mode & 0o777) for mode in (*modes, target.stat().st_mode)] == ["0o700", "0o755", "0o644"]


# The blend against flicker.


def flickering(clip: Clip, count: int) -> list[RestoredFrame]:
    """Frames of a clip whose results are alternately a little lighter and darker."""
    frames = [view(clip, number) for number in range(count)]
    return [
        RestoredFrame(frame, np.clip(frame.astype(int) + (3 if number % 2 else -3), 0, 255).astype(np.uint8))
        for number, frame in enumerate(frames)
    ]


def test_the_blend_removes_flicker_and_follows_the_motion() -> None:
    frames = flickering(Clip(128, 96), 8)
    for strength, largest in ((0.0, 3.0), (0.5, 1.9), (1.0, 1.4)):
        errors = [
            np.abs(frame.pixels.astype(float) - frame.blurry)[8:-8, 8:-8].mean()
            for frame in list(smoothed(frames, strength))[1:-1]
        ]
        assert np.mean(errors) <= largest
        assert strength or np.mean(errors) > 2.5


@pytest.mark.parametrize(("dtype", "white"), [(np.uint16, 65535), (np.float32, 1)])
def test_the_blend_is_the_same_at_any_depth(dtype: Any, white: int) -> None:
    frames = flickering(Clip(128, 96), 3)
    scale = white / 255
    deep = [RestoredFrame((one.blurry * scale).astype(dtype), (one.pixels * scale).astype(dtype)) for one in frames]
    for one, other in zip(smoothed(frames, 1.0), smoothed(deep, 1.0), strict=True):
        assert other.pixels.dtype == dtype
        assert np.abs(other.pixels / scale - one.pixels).max() < 1


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_and_transparent_frames_are_blended_and_keep_their_alpha(channels: int) -> None:
    frames = [
        RestoredFrame(with_channels(frame.blurry, channels, number), with_channels(frame.pixels, channels, number))
        for number, frame in enumerate(flickering(Clip(128, 96), 3))
    ]
    before, after = frames[1], list(smoothed(frames, 1.0))[1]
    colours = slice(0, 1 if channels <= 2 else 3)
    flicker = [np.abs(one.pixels.astype(float) - one.blurry)[8:-8, 8:-8, colours].mean() for one in (before, after)]
    assert flicker[0] > 2.5
    assert flicker[1] <= 1.4
    assert after.pixels.shape == before.pixels.shape
    if channels in (2, 4):
        assert np.array_equal(after.pixels[..., -1], before.pixels[..., -1])


def with_channels(pixels: np.ndarray, channels: int, number: int) -> np.ndarray:
    """Make RGB grey for 1 and 2 channels, and add an alpha channel for 2 and 4."""
    alpha = np.full_like(pixels[..., :1], 100 + number)
    colours = pixels[..., 1:2] if channels <= 2 else pixels
    return np.concatenate([colours, alpha], axis=2) if channels in (2, 4) else np.ascontiguousarray(colours)


def test_the_blend_leaves_no_ghosts() -> None:
    """A thing that appears, moves fast and disappears is in no other frame; nothing goes across a cut."""
    clip = Clip(128, 96, cut_at=4)
    frames = flickering(clip, 8)
    for number, column in ((2, 20), (3, 80)):
        for pixels in (frames[number].blurry, frames[number].pixels):
            pixels[30:50, column : column + 20] = 250, 240, 20
    for before, after in zip(frames, smoothed(frames, 1.0), strict=True):
        assert np.abs(after.pixels.astype(int) - before.pixels).max() <= 2 * 6 / 3 + 1
    kept = list(smoothed(frames[3:5], 1.0))
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(kept, frames[3:5], strict=True))


def test_a_folder_of_frames_is_blended_and_goes_on(tmp_path: Path, deblurrer: Deblurrer) -> None:
    clip = Clip(64, 48)
    for number in range(6):
        write_image(tmp_path / "in" / f"{number}.png", Image(view(clip, number)))
    (tmp_path / "in" / "3.png").write_bytes(b"\x89PNG")
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    first = list(run_batch(deblurrer, batch, as_frames=True))
    assert [outcome.job.source.name for outcome in first if outcome.error] == ["3.png"]
    results = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(results) == {"0.png", "1.png", "2.png", "4.png", "5.png"}
    for name in ("1.png", "5.png"):
        (tmp_path / "out" / name).unlink()
    again = list(run_batch(deblurrer, batch, as_frames=True))
    assert [outcome.done_before for outcome in again] == [True, False, True, False, True, False]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == results
    single = list(run_batch(deblurrer, batch, video=VideoSettings(temporal=0), as_frames=True))
    assert not any(outcome.done_before for outcome in single)
    assert (tmp_path / "out" / "1.png").read_bytes() != results["1.png"]
    with pytest.raises(UserError, match="in place"):
        list(run_batch(deblurrer, plan_batch([tmp_path / "in"], in_place=True), as_frames=True))


@pytest.mark.parametrize("change", ["replaced", "of equal size", "removed"])
def test_neighbours_of_a_frame_that_changed_are_made_again(tmp_path: Path, deblurrer: Deblurrer, change: str) -> None:
    frames, out, fresh = (tmp_path / name for name in ("in", "out", "fresh"))
    for number in range(6):
        write_image(frames / f"{number}.bmp", Image(view(Clip(64, 48), number)))

    def done(target: Path) -> str:
        outcomes = run_batch(deblurrer, plan_batch([frames], target), as_frames=True)
        return "".join(outcome.job.source.stem for outcome in outcomes if not outcome.done_before)

    assert (done(out), done(out)) == ("012345", "")
    if change == "removed":
        (frames / "2.bmp").unlink()
        (out / "2.bmp").unlink()
    else:
        size = (64, 48) if change == "of equal size" else (80, 48)
        write_image(frames / "2.bmp", Image(view(Clip(*size), 9)))
    assert done(out) == ("13" if change == "removed" else "123")
    assert done(out) == ""
    done(fresh)
    made, wanted = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (out, fresh))
    assert made == wanted


def test_frames_say_the_limit_below_which_neighbours_are_kept(tmp_path: Path, deblurrer: Deblurrer) -> None:
    for number in range(3):
        write_image(tmp_path / "in" / f"{number}.png", Image(view(Clip(64, 48), number)))
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    for least_px, done_before in ((0.0, False), (0.0, True), (0.01, False), (0.01, True)):
        outcomes = list(run_batch(deblurrer, batch, as_frames=True, least_px=least_px))
        assert [(outcome.kept, outcome.done_before) for outcome in outcomes] == 3 * [("", done_before)]


def test_a_frame_whose_blend_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        pixels = view(Clip(64, 48), number).astype(np.float32) / 255
        write_image(tmp_path / "in" / f"{number}.tif", Image(np.float32(pixels)))
    flow, calls = temporal.flow_of, iter(range(9))

    def full(*frames: Any) -> Any:
        if next(calls) == 1:
            raise MemoryError("the memory is full")
        return flow(*frames)

    monkeypatch.setattr(temporal, "flow_of", full)
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    found = list(run_batch(Deblurrer(Nothing(), precision="fp32"), batch, as_frames=True))
    assert ["memory" in (outcome.error or "") for outcome in found] == [False, True, False]
    assert [outcome.error for outcome in found if outcome.error] == [found[1].error]


def test_frames_stay_together_whatever_is_between_them(tmp_path: Path) -> None:
    """A subfolder whose name is a number comes between the frames in natural order."""
    names = ["1.png", "2.png", "2/1.png", "3.png"]
    for number, name in enumerate(names):
        write_image(tmp_path / "in" / name, Image(view(Clip(64, 48), number)))
    network = Nothing()
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    found = list(run_batch(Deblurrer(network, precision="fp32"), batch, as_frames=True))
    assert sorted(str(outcome.job.source.relative_to(tmp_path / "in").as_posix()) for outcome in found) == names
    folders = [folder for folder, _ in groupby(outcome.job.source.parent for outcome in found)]
    assert len(folders) == 2


@pytest.mark.parametrize("as_frames", [True, False])
def test_a_file_that_changes_meanwhile_is_restored_again(tmp_path: Path, as_frames: bool) -> None:
    source = tmp_path / "in" / "a.png"

    class Replacing(Nothing):
        def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if not self.seen:
                write_image(source, Image(make_photo(30, 50)))
            return super().restore(blurry)

    write_image(source, Image(make_photo(48, 64)))
    batch, deblurrer = plan_batch([tmp_path / "in"], tmp_path / "out"), Deblurrer(Replacing())
    for done_before in (False, False, True):
        outcomes = list(run_batch(deblurrer, batch, video=VideoSettings(temporal=0.0), as_frames=as_frames))
        assert [(outcome.error, outcome.done_before) for outcome in outcomes] == [(None, done_before)]
    assert read_image(tmp_path / "out" / "a.png").pixels.shape == (30, 50, 3)


# Folders.


def test_a_folder_may_mix_photos_and_videos(tmp_path: Path, deblurrer: Deblurrer) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deeper").mkdir(parents=True)
    write_clip(folder / "deeper" / "a.mp4")
    write_clip(folder / "b.avi", Clip(codec="mpeg4", sound="libmp3lame"))
    write_image(folder / "c.png", Image(make_photo(40, 60)))
    (folder / "no.mp4").write_text("nothing")
    first = run(deblurrer, folder, output=out)
    assert {name for name, outcome in first.items() if outcome.error} == {"no.mp4"}
    made = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert made == {"deeper/a.mp4", "b.mkv", "c.png"}
    assert all(outcome.before > 0 for outcome in first.values() if not outcome.error)
    second = run(deblurrer, folder, output=out)
    assert {name for name, outcome in second.items() if outcome.done_before} == {"a.mp4", "b.avi", "c.png"}
    assert "from" in (mark_of(out / "b.mkv") or "")
    assert packets_of(out / "b.mkv", "audio")[0][3][2] == packets_of(folder / "b.avi", "audio")[0][3][2]


@pytest.mark.parametrize(
    ("name", "clip", "made"),
    [
        pytest.param("a.mts", Clip(sound="ac3"), "a.mkv", marks=pytest.mark.heavy),
        pytest.param("a.m2ts", Clip(sound="ac3"), "a.mkv", marks=pytest.mark.heavy),
        pytest.param("a.mpg", Clip(codec="mpeg2video", sound="mp2"), "a.mkv", marks=pytest.mark.heavy),
        pytest.param("a.MPEG", Clip(codec="mpeg1video", sound="mp2"), "a.mkv", marks=pytest.mark.heavy),
        ("a.wmv", Clip(codec="wmv2", sound=None), "a.mkv"),
        ("a.3gp", Clip(), "a.mov"),
    ],
)
def test_a_container_that_is_only_read_becomes_another(
    tmp_path: Path, deblurrer: Deblurrer, name: str, clip: Clip, made: str
) -> None:
    source, out = write_clip(tmp_path / name, clip), tmp_path / "out"
    outcome = run(deblurrer, source, output=out)[name]
    assert (outcome.error, [path.name for path in out.iterdir()]) == (None, [made])
    times = [np.array(times_of(path), float) for path in (source, out / made)]
    assert len(times[0]) == 10
    assert np.ptp(times[1] - times[0]) <= 0.001  # MKV counts in ms
    sounds = [[packet[2] for stream in packets_of(path, "audio") for packet in stream] for path in (source, out / made)]
    assert sounds[0] == sounds[1]
    with pytest.raises(UserError, match="cannot be written: choose an output folder"):
        plan_batch([source], in_place=True)


def test_a_comparison_of_a_video_shows_one_frame(tmp_path: Path, deblurrer: Deblurrer) -> None:
    source = write_clip(tmp_path / "a.mp4", Clip(sound=None))
    before = [to_rgb(frame).astype(int) for frame in frames_of(source)]
    batch = plan_batch([source], in_place=True, compare=True)
    assert [outcome.error for outcome in run_batch(deblurrer, batch)] == [None]
    shown = read_image(tmp_path / "a-compare.png").pixels
    assert shown.shape == (48, 64 + 4 + 64, 3)
    after = [to_rgb(frame).astype(int) for frame in frames_of(source)]
    for part, frames in ((shown[:, :64], before), (shown[:, 68:], after)):
        assert np.argmin([np.abs(part - frame).mean() for frame in frames]) == 5


def test_in_place_a_video_is_restored_once(tmp_path: Path, deblurrer: Deblurrer) -> None:
    source = write_clip(tmp_path / "a.mp4")
    sound = packets_of(source, "audio")
    assert run(deblurrer, source)["a.mp4"].error is None
    made = source.read_bytes()
    assert run(deblurrer, source)["a.mp4"].done_before
    assert source.read_bytes() == made
    assert packets_of(source, "audio") == sound


def test_in_place_nothing_is_lost_for_good(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", Clip(width=320, height=240, sound=None)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    write_clip(tmp_path / "clear.mkv", Clip(codec="ffv1", pix_fmt="bgra", sound=None))
    for name, lost in {"cut.mkv": "frames", "clear.mkv": "its transparency is left out"}.items():
        before = (tmp_path / name).read_bytes()
        network = Nothing()
        outcome = run(Deblurrer(network), tmp_path / name)[name]
        assert lost in (outcome.error or "")
        assert (outcome.option, network.seen) == ("output", 0)
        assert (tmp_path / name).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"whole.mkv", "cut.mkv", "clear.mkv"}


# Bad input is one line, and nothing is lost.


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, deblurrer: Deblurrer) -> None:
    (tmp_path / "text.mp4").write_text("nothing")
    (tmp_path / "empty.mp4").write_bytes(b"")
    write_image(tmp_path / "photo.png", Image(make_photo(8, 8)))
    shutil.move(tmp_path / "photo.png", tmp_path / "photo.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    write_clip(tmp_path / "pq.mp4", Clip(codec="libx265", pix_fmt="yuv420p10le", colours=(1, 9, 16, 9)))
    write_clip(tmp_path / "interlaced.mkv", Clip(interlaced=True))
    reasons = {
        "text.mp4": "is not a video",
        "empty.mp4": "is not a video",
        "photo.mp4": "is a PNG image, not a video",
        "sound.mp4": "has no video stream, only audio",
        "pq.mp4": "is HDR with PQ brightness",
        "interlaced.mkv": "is interlaced",
        "missing.mp4": "no such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=reason) as error:
            deblur_video(tmp_path / name, tmp_path / "out.mp4", deblurrer=deblurrer)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_that_ends_in_a_frame_keeps_what_decodes(tmp_path: Path, deblurrer: Deblurrer) -> None:
    content = write_clip(tmp_path / "whole.mkv", Clip(width=320, height=240, sound=None)).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    result = deblur_video(tmp_path / "cut.mkv", tmp_path / "out.mkv", deblurrer=deblurrer)
    assert 0 < result.frames < 10
    assert len(frames_of(tmp_path / "out.mkv")) == result.frames
    assert times_of(tmp_path / "out.mkv") == times_of(tmp_path / "whole.mkv")[: result.frames]
    assert any("frames" in note for note in result.notes)
    compared = plan_batch([tmp_path / "cut.mkv"], tmp_path / "compared.mkv", compare=True)
    assert [outcome.error for outcome in run_batch(deblurrer, compared)] == [None]
    shown = read_image(tmp_path / "compared-compare.png").pixels.astype(int)
    assert np.abs(shown[:, :320] - shown[:, 324:]).mean() < 4  # the same frame


@pytest.mark.parametrize("sound", [None, "mp2"])
def test_a_clock_that_jumps_back_is_refused_at_once(tmp_path: Path, sound: str | None) -> None:
    """As in two files that were joined by copying: 20 frames would get the times of 10."""
    whole, network = write_clip(tmp_path / "a.mpg", Clip(codec="mpeg2video", sound=sound)), Nothing()
    (tmp_path / "joined.mpg").write_bytes(whole.read_bytes() * 2)
    with pytest.raises(UserError, match=r"joined\.mpg jumps back at 0\.\d+ s, .* -i joined\.mpg -c copy"):
        deblur_video(tmp_path / "joined.mpg", tmp_path / "b.mkv", deblurrer=Deblurrer(network))
    assert network.seen == 0
    assert deblur_video(whole, tmp_path / "b.mkv", deblurrer=Deblurrer(network)).frames == 10


def test_a_container_that_cannot_hold_the_sound_is_refused_at_once(tmp_path: Path) -> None:
    network = Nothing()
    source = write_clip(tmp_path / "a.mp4")
    with pytest.raises(
        UserError, match=r"\.webm cannot hold its audio stream \(aac\): use .* in \.mp4 or \.m4v or \.mov or \.mkv$"
    ):
        deblur_video(source, tmp_path / "a.webm", deblurrer=Deblurrer(network))
    with pytest.raises(UserError, match=r"cannot write the video .*: use a suffix of \.mp4"):
        deblur_video(source, tmp_path / "a.avi", deblurrer=Deblurrer(network))
    with pytest.raises(UserError, match=r"\.webm cannot hold h264"):
        deblur_video(source, tmp_path / "a.webm", deblurrer=Deblurrer(network), settings=VideoSettings(codec="h264"))
    spoken = write_clip(tmp_path / "b.wmv", Clip(codec="wmv2", sound="wmav2"))
    with pytest.raises(UserError) as error:
        deblur_video(spoken, tmp_path / "b.mkv", deblurrer=Deblurrer(network))
    assert str(error.value) == (
        f"{spoken}: .mkv cannot hold its audio stream (wmav2): convert the sound first, "
        "for example with ffmpeg -i b.wmv -map 0 -c copy -c:a aac new.mkv"
    )
    spoken.unlink()
    with pytest.raises(UserError, match="is also the source"):
        deblur_video(source, source, deblurrer=Deblurrer(network))
    assert network.seen == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_second_run_on_one_video_names_the_result_and_no_hidden_folder(tmp_path: Path) -> None:
    source, target = write_clip(tmp_path / "a.mp4", Clip(sound=None, pts=(0, 512))), tmp_path / "b.mp4"
    with folder_lock(folder_of(target), private=True), pytest.raises(UserError) as error:
        deblur_video(source, target, deblurrer=Deblurrer(Nothing()))
    assert str(error.value) == (
        f"another run of tfmlc (process {os.getpid()}) is working on {target}: wait for it, or choose another output"
    )


def test_a_video_of_an_unknown_suffix_is_called_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.flv").write_bytes(b"FLV\1")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.flv does not end like a video that can be read: .*\.mpg.* to \.mkv first"):
        plan_batch([tmp_path / "a.flv"], tmp_path / "y.mp4")
    with pytest.raises(UserError, match=r"cannot write the photo .*y\.mp4: use a suffix of \.jpg"):
        plan_batch([tmp_path / "b.jpg"], tmp_path / "y.mp4")


def test_a_video_is_not_written_over_itself_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfmlc.io.files.ignores_case", lambda _: True)
    source = write_clip(tmp_path / "A.MP4", Clip(pts=(0, 512)))
    with pytest.raises(UserError, match="is also the source"):
        deblur_video(source, tmp_path / "a.mp4", deblurrer=Deblurrer(Nothing()))


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", ".mkv"), ("hevc", ".mp4"), ("vp9", ".webm"), ("av1", ".mp4"), ("av1", ".webm")]
)
def test_each_codec_keeps_times_and_colours(tmp_path: Path, codec: Any, suffix: str) -> None:
    source = write_clip(tmp_path / "a.mkv", Clip(pts=VFR, sound="libopus", colours=(2, 1, 13, 6)))
    target = tmp_path / f"b{suffix}"
    settings = VideoSettings(codec=codec, quality=5)
    result = deblur_video(source, target, deblurrer=Deblurrer(Nothing()), settings=settings)
    after = read_properties(target)
    assert (after.codec, result.notes) == (codec, ())
    assert times_of(target) == times_of(source)
    assert (after.colours[0], after.colours[3]) == (2, 6)
    assert [packet[2] for packet in packets_of(target, "audio")[0]] == [
        packet[2] for packet in packets_of(source, "audio")[0]
    ]
    for before, now in zip(frames_of(source), frames_of(target), strict=True):
        assert np.abs(to_rgb(before).astype(int) - to_rgb(now)).mean() < 6


def test_covers_chapters_languages_and_the_order_of_streams_are_kept(tmp_path: Path, deblurrer: Deblurrer) -> None:
    clip, cover, source = write_clip(tmp_path / "clip.mp4"), tmp_path / "cover.png", tmp_path / "a.mp4"
    write_image(cover, Image(make_photo(16, 16)))
    with av.open(str(clip)) as first, av.open(str(cover)) as second, av.open(str(source), "w") as container:
        inputs = [(first.streams.audio[0], "fra"), (first.streams.video[0], "und"), (second.streams.video[0], "und")]
        outputs: dict[Any, Any] = {}
        for stream, language in inputs:
            outputs[stream] = container.add_stream_from_template(stream, opaque=True)
            outputs[stream].metadata["language"] = language
        outputs[inputs[2][0]].disposition = av.stream.Disposition.attached_pic
        half = Fraction(1, 1000)
        chapters: list[Any] = [{"id": 1, "start": 0, "end": 200, "time_base": half, "metadata": {"title": "One"}}]
        container.set_chapters(chapters)
        container.metadata["comment"] = "mine"
        for packet in [*first.demux(), *second.demux()]:
            if packet.size:
                packet.stream = outputs[packet.stream]
                container.mux(packet)
    deblur_video(source, tmp_path / "b.mp4", deblurrer=deblurrer)
    kept: list[Any] = []
    for path in (source, tmp_path / "b.mp4"):
        with av.open(str(path)) as container:
            streams = [(one.type, one.disposition, one.metadata.get("language")) for one in container.streams]
            kept.append((streams, [chapter["metadata"] for chapter in container.chapters()]))
            comment = container.metadata["comment"]
    assert kept[0] == kept[1]
    assert comment.startswith("mine\n[tfmlc:restored by ")
    video = [packets for packets in packets_of(tmp_path / "b.mp4", "video") if len(packets) == 1]
    assert video == [packets for packets in packets_of(source, "video") if len(packets) == 1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_an_odd_size_is_kept_exactly(tmp_path: Path, deblurrer: Deblurrer, suffix: str) -> None:
    source = write_clip(tmp_path / "a.webm", Clip(65, 49, codec="libvpx-vp9", sound="libopus", pts=(0, 512)))
    target = tmp_path / f"b{suffix}"
    result = deblur_video(source, target, deblurrer=deblurrer, settings=VideoSettings(codec="h264"))
    assert "stored as yuv444p" in result.notes[0]
    assert [(frame.width, frame.height) for frame in frames_of(target)] == [(65, 49)] * 2


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.mov", Clip(codec="png", pix_fmt="rgb24", colours=(2, 2, 2, 0), sound=None)),
        ("a.mp4", Clip(codec="libx264rgb", pix_fmt="rgb24", colours=(2, 2, 2, 0), sound=None)),
        ("a.mkv", Clip(codec="ffv1", pix_fmt="bgr0", colours=(0, 2, 2, 2), sound=None)),
        ("b.mkv", Clip(codec="ffv1", pix_fmt="gray", colours=(0, 2, 2, 2), sound=None)),
        ("c.mkv", Clip(codec="ffv1", pix_fmt="gray10le", colours=(0, 2, 2, 2), sound=None)),
    ],
)
def test_videos_of_rgb_and_grey_keep_their_colours(tmp_path: Path, name: str, clip: Clip) -> None:
    source, target = write_clip(tmp_path / name, clip), tmp_path / "out.mkv"
    deblur_video(source, target, deblurrer=Deblurrer(Nothing()))
    before, after = (next(decode(path, [])) for path in (source, target))
    assert isinstance(before, np.ndarray)
    assert isinstance(after, np.ndarray)
    assert np.abs(before.astype(int) - after).mean() < 3
    assert read_properties(target).colours[0] in (1, 2)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.webm", "libvpx-vp9", "yuva420p"), ("a.mov", "prores_ks", "yuva444p10le")]
)
def test_transparency_that_is_left_out_is_said(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    source = write_clip(tmp_path / name, Clip(codec=codec, pix_fmt=pix_fmt, sound=None))
    result = deblur_video(source, tmp_path / "out.mkv", deblurrer=Deblurrer(Nothing()))
    assert "its transparency is left out" in result.notes
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert "alpha_mode" not in {key.lower() for key in made.streams.video[0].metadata}


def test_what_frames_carry_beside_pixels_is_said_to_be_left_out(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "frame-packing=3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(view(Clip(), 0), format="rgb24")))
        container.mux(stream.encode())
    result = deblur_video(tmp_path / "a.mp4", tmp_path / "b.mp4", deblurrer=Deblurrer(Nothing()))
    assert result.notes == ("left out: its 3D layout",)


def test_results_that_do_not_look_like_the_input_are_not_used(tmp_path: Path) -> None:
    class Breaks(Nothing):
        def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self.seen += 1
            return (1 - blurry if self.seen > 7 else blurry,)

    source = write_clip(tmp_path / "a.mp4")
    network = Breaks()
    result = deblur_video(source, tmp_path / "b.mp4", deblurrer=Deblurrer(network))
    assert result.notes[0].startswith("3 of 10 frames were kept as they were: the result has another brightness")
    for before, after in zip(frames_of(source), frames_of(tmp_path / "b.mp4"), strict=True):
        assert np.abs(to_rgb(before).astype(int) - to_rgb(after)).mean() < 6
    with pytest.raises(UserError, match="was not restored"):
        deblur_video(source, tmp_path / "c.mp4", deblurrer=Deblurrer(network))
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}
    outcome = run(Deblurrer(network), source, output=tmp_path / "c.mp4")["a.mp4"]
    assert (outcome.kept, outcome.error) == ("fault", None)
    assert (tmp_path / "c.mp4").read_bytes() == source.read_bytes()
    outcome = run(Deblurrer(network), source, output=tmp_path / "d.mkv")["a.mp4"]
    assert (outcome.kept, outcome.job.target) == ("fault", tmp_path / "d.mp4")
    assert (tmp_path / "d.mp4").read_bytes() == source.read_bytes()
    (tmp_path / "d.mp4").write_bytes(b"another video")
    outcome = run(Deblurrer(network), source, output=tmp_path / "d.mkv")["a.mp4"]
    assert f"its copy would replace {tmp_path / 'd.mp4'}: rename that" in (outcome.error or "")


def test_videos_of_any_container_are_kept_under_their_names(tmp_path: Path) -> None:
    names = {"a.avi": "mpeg4", "a.mpg": "mpeg2video", "b.wmv": "wmv2", "c.2019.avi": "mpeg4", "c.2020.avi": "mpeg4"}
    (tmp_path / "in").mkdir()
    for name, codec in names.items():
        write_clip(tmp_path / "in" / name, Clip(codec=codec, sound=None))
    words = ["deblur", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--only-blurry", "--blurry-px", "100"]
    for _ in range(2):
        said = CliRunner().invoke(app, words)
        assert (said.exit_code, "5 of 5 files kept as they are" in said.stderr) == (0, True), said.output
        assert {path.name for path in (tmp_path / "out").iterdir()} == names.keys()
        assert all((tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes() for name in names)


# On the command line.


@pytest.mark.multiprocess
def test_the_command_restores_and_goes_on_after_a_full_disk(tmp_path: Path) -> None:
    """A file may grow to 256 KB, which stands for a full disk: one line, nothing is lost, the next run goes on."""
    source = write_clip(tmp_path / "a.mp4", Clip(96, 64, pts=tuple(range(0, 3 * 512, 512)), sound="pcm_s16le"))
    target = tmp_path / "b.mp4"
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2);"
        "from tfmlc.cli import main; sys.exit(main())"
    )
    command = ["deblur", str(source), "-o", str(target), "--device", "cpu", "--temporal", "0.3"]

    def start(most_bytes: int) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", limited, str(most_bytes), *command]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    full = start(16_000)
    assert full.returncode == 2
    assert "cannot write" in full.stderr
    assert full.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", folder_of(target).name}
    done = start(10_000_000)
    assert (done.returncode, done.stdout) == (0, "")
    assert "edges" in done.stderr
    assert times_of(target) == times_of(source)
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b.mp4"}
