"""Streams beside the restored one: what cannot be copied is refused or named, before a frame is restored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tfmlc[video]'")

import av
from av.stream import Disposition

from clips import Clip, write_clip
from conftest import make_photo, small_network
from tfmlc.deblur import Deblurrer, deblur_video
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.io.video import read_properties
from tfmlc.io.video.muxing import Piece, check_streams, join, not_restored


@pytest.fixture(scope="module")
def deblurrer() -> Deblurrer:
    return Deblurrer(small_network(), precision="fp32")


@pytest.mark.parametrize(
    ("kind", "known", "unknown"),
    [("audio", b"A_AAC", b"A_XYZ"), ("subtitle", b"S_TEXT/UTF8", b"S_TEXT/XYZ0")],
)
def test_sound_and_subtitles_of_an_unknown_codec_are_refused_in_one_line(
    tmp_path: Path, kind: str, known: bytes, unknown: bytes
) -> None:
    source = write_clip(tmp_path / "a.mkv", Clip(subtitles="subrip", pts=(0, 512)))
    content = source.read_bytes()
    assert content.count(known) == 1
    source.write_bytes(content.replace(known, unknown))
    number = {"audio": 1, "subtitle": 2}[kind]
    with pytest.raises(UserError) as error:
        check_streams(source, ".mkv")
    assert str(error.value) == (
        f"{source}: the codec of its {kind} stream {number} is not known: copy the file without that stream first, "
        f"for example with ffmpeg -i a.mkv -map 0 -map -0:{number} -c copy new.mkv"
    )


@pytest.mark.parametrize(
    ("views", "cover", "notes"),
    [
        (1, False, []),
        (1, True, []),
        (2, True, ["only its video stream 0 is restored: stream 1 is copied unchanged"]),
        (3, False, ["only its video stream 0 is restored: streams 1, 2 are copied unchanged"]),
    ],
)
def test_further_views_that_stay_blurry_are_named(tmp_path: Path, views: int, cover: bool, notes: list[str]) -> None:
    clip, source = write_clip(tmp_path / "clip.mp4", Clip(sound=None, pts=(0, 512))), tmp_path / "a.mp4"
    write_image(tmp_path / "cover.png", Image(make_photo(16, 16)))
    with av.open(str(clip)) as view, av.open(str(tmp_path / "cover.png")) as still, av.open(str(source), "w") as made:
        outputs: list[Any] = [made.add_stream_from_template(view.streams.video[0], opaque=True) for _ in range(views)]
        added: list[Any] = [made.add_stream_from_template(still.streams.video[0], opaque=True)] if cover else []
        for output in added:
            output.disposition = Disposition.attached_pic
        for packet in [*view.demux(), *still.demux()]:
            for output in outputs if packet.stream.container is view else added:
                if packet.size:
                    made.mux(_copy(packet, output))
    assert not_restored(source, ".mp4") == notes
    assert check_streams(source, ".mp4") == []  # nothing is lost


def test_a_timecode_track_is_left_out_and_named(tmp_path: Path, deblurrer: Deblurrer) -> None:
    source = tmp_path / "a.mov"
    with av.open(str(source), "w") as made:
        stream = made.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["timecode"] = "01:02:03:04"
        made.mux(stream.encode(av.VideoFrame.from_ndarray(make_photo(48, 64), format="rgb24")))
        made.mux(stream.encode())
    with av.open(str(source)) as found:
        assert [stream.type for stream in found.streams] == ["video", "data"]
    result = deblur_video(source, tmp_path / "b.mov", deblurrer=deblurrer)
    assert result.notes == ("1 timecode is left out",)
    assert read_properties(tmp_path / "b.mov").frames == 1


def test_streams_that_cannot_be_joined_are_one_line_without_hidden_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "a.mp4", Clip(sound=None, pts=(0, 512)))
    pieces = [Piece(source, [(512, 512), (0, 512)])]  # times that go back: the muxer refuses them
    with pytest.raises(UserError) as error:
        join(read_properties(source), pieces, tmp_path / ".hidden", ".mp4", "mark")
    assert str(error.value) == (
        f"{source}: its streams cannot be written to .mp4 (Invalid argument): use an output in .mkv"
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_track_of_chapters_is_written_again_and_no_loss(tmp_path: Path, deblurrer: Deblurrer, suffix: str) -> None:
    clip, source = write_clip(tmp_path / "clip.mp4", Clip(sound=None)), tmp_path / "a.mp4"
    unit = Fraction(1, 1000)
    chapters: list[Any] = [
        {"id": number, "start": start, "end": start + 200, "time_base": unit, "metadata": {"title": f"Part {number}"}}
        for number, start in enumerate((0, 200))
    ]
    with av.open(str(clip)) as view, av.open(str(source), "w") as made:
        made.set_chapters(chapters)
        output: Any = made.add_stream_from_template(view.streams.video[0], opaque=True)
        for packet in view.demux():
            if packet.size:
                made.mux(_copy(packet, output))
    with av.open(str(source)) as found:
        assert [stream.type for stream in found.streams] == ["video", "data"]
    assert check_streams(source, suffix) == []
    deblur_video(source, tmp_path / f"b{suffix}", deblurrer=deblurrer)
    with av.open(str(tmp_path / f"b{suffix}")) as kept:
        titles = [(one["start"] * (one["time_base"] or 0), one["metadata"]["title"]) for one in kept.chapters()]
    assert titles == [(0, "Part 0"), (Fraction(1, 5), "Part 1")]


def test_a_relative_name_with_a_colon_is_restored_from_and_to_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deblurrer: Deblurrer
) -> None:
    write_clip(tmp_path / "clip.mp4", Clip(sound=None, pts=(0, 512))).rename(tmp_path / "file:a.mp4")
    write_clip(tmp_path / "a.mp4", Clip(width=96))
    monkeypatch.chdir(tmp_path)
    assert deblur_video("file:a.mp4", "trip:b.mp4", deblurrer=deblurrer).frames == 2
    assert read_properties(Path("trip:b.mp4")).width == 64
    assert {path.name for path in tmp_path.iterdir()} == {"file:a.mp4", "a.mp4", "trip:b.mp4"}


def _with_cover(folder: Path, suffix: str, still: bytes) -> Path:
    """Write a video with a cover, as a file of Matroska or as metadata of MP4; without sound."""
    clip, source = write_clip(folder / "clip.mp4", Clip(sound=None, pts=(0, 512))), folder / f"a{suffix}"
    (folder / "cover.png").write_bytes(still)
    with av.open(str(clip)) as view, av.open(str(folder / "cover.png")) as image, av.open(str(source), "w") as made:
        output: Any = made.add_stream_from_template(view.streams.video[0], opaque=True)
        cover: Any = None
        if suffix == ".mkv":
            made.add_attachment("small_cover.png", "image/png", still)
        else:
            cover = made.add_stream_from_template(image.streams.video[0], opaque=True)
            cover.disposition = Disposition.attached_pic
        for packet in [*view.demux(), *(image.demux() if cover else ())]:
            if packet.size:
                made.mux(_copy(packet, output if packet.stream.container is view else cover))
    return source


@pytest.mark.parametrize("before", [".mkv", ".mp4"])
@pytest.mark.parametrize("after", [".mkv", ".mp4", ".mov"])
def test_covers_stay_covers_or_are_named(tmp_path: Path, deblurrer: Deblurrer, before: str, after: str) -> None:
    write_image(tmp_path / "still.png", Image(make_photo(16, 16)))
    still = (tmp_path / "still.png").read_bytes()
    source, target = _with_cover(tmp_path, before, still), tmp_path / f"b{after}"
    notes = deblur_video(source, target, deblurrer=deblurrer).notes
    with av.open(str(target)) as made:
        covers = [stream for stream in made.streams.video if stream.disposition & Disposition.attached_pic]
        assert len(made.streams.video) == 1 + len(covers)
        images = [bytes(packet) for cover in covers for packet in made.demux(cover) if packet.size]
        names = [cover.metadata.get("filename") for cover in covers]
    if after == ".mov":
        assert (images, notes[0]) == ([], "1 cover is left out")
        return
    assert images == [still]
    assert not [note for note in notes if "cover" in note]
    if after == ".mkv":
        assert names == ["small_cover.png" if before == ".mkv" else "cover.png"]


def test_a_sound_file_with_a_cover_is_no_video(tmp_path: Path, deblurrer: Deblurrer) -> None:
    write_image(tmp_path / "still.png", Image(make_photo(16, 16)))
    clip, source = write_clip(tmp_path / "clip.mp4"), tmp_path / "sound.mp4"
    with av.open(str(clip)) as view, av.open(str(tmp_path / "still.png")) as image, av.open(str(source), "w") as made:
        sound: Any = made.add_stream_from_template(view.streams.audio[0], opaque=True)
        cover: Any = made.add_stream_from_template(image.streams.video[0], opaque=True)
        cover.disposition = Disposition.attached_pic
        for packet in [*view.demux(audio=0), *image.demux()]:
            if packet.size:
                made.mux(_copy(packet, sound if packet.stream.container is view else cover))
    with pytest.raises(UserError) as error:
        deblur_video(source, tmp_path / "b.mp4", deblurrer=deblurrer)
    assert str(error.value) == f"{source} has no video stream, only a cover and audio"


@pytest.mark.parametrize("tagged", [".mkv", ".webm"])
def test_statistics_of_the_old_frames_are_not_kept_but_those_of_the_sound_are(
    tmp_path: Path, deblurrer: Deblurrer, tagged: str
) -> None:
    codec, sound = ("libx264", "aac") if tagged == ".mkv" else ("libvpx-vp9", "libopus")
    clip, source = write_clip(tmp_path / f"clip{tagged}", Clip(codec=codec, sound=sound)), tmp_path / f"a{tagged}"
    with av.open(str(clip)) as view, av.open(str(source), "w") as made:
        outputs: list[Any] = [made.add_stream_from_template(stream, opaque=True) for stream in view.streams]
        for output in outputs:
            output.metadata.update({"BPS-eng": "1", "NUMBER_OF_FRAMES": "2", "_STATISTICS_TAGS": "BPS", "mine": "3"})
        for packet in view.demux():
            if packet.size:
                made.mux(_copy(packet, outputs[packet.stream.index]))
    deblur_video(source, tmp_path / "b.mkv", deblurrer=deblurrer)
    with av.open(str(tmp_path / "b.mkv")) as kept:
        video, audio = ({key.lower() for key in stream.metadata} for stream in kept.streams)
    assert "mine" in video
    assert not [key for key in video if key.startswith(("bps", "number_of_", "_statistics_"))]
    assert {"bps-eng", "number_of_frames", "_statistics_tags", "mine"} <= audio


@pytest.mark.parametrize(("suffix", "kept"), [(".mp4", True), (".mkv", False)])
def test_sound_before_the_start_of_an_edit_list_is_not_played(
    tmp_path: Path, deblurrer: Deblurrer, suffix: str, kept: bool
) -> None:
    clip, source, target = write_clip(tmp_path / "clip.mp4"), tmp_path / "cut.mp4", tmp_path / f"b{suffix}"
    with av.open(str(clip)) as view, av.open(str(source), "w") as made:
        outputs: list[Any] = [made.add_stream_from_template(stream, opaque=True) for stream in view.streams]
        for packet in view.demux():
            if packet.size:
                copy = _copy(packet, outputs[packet.stream.index])
                if packet.stream.type == "audio":  # as if the first 0.2 s were cut off without encoding
                    copy.pts, copy.dts = copy.pts - 9600, copy.dts - 9600
                made.mux(copy)
    deblur_video(source, target, deblurrer=deblurrer)
    before, after = _sound(source), _sound(target)
    assert before[0][0] < -0.2
    heard = [content for time, content in before if time >= 0]
    if kept:
        assert after == before
    else:
        assert 0 < len(after) - len(heard) <= 2  # with which a decoder starts
        assert [content for _, content in after][-len(heard) :] == heard


def _sound(path: Path) -> list[tuple[float, bytes]]:
    """The times, from the first frame on, and the contents of the packets of sound."""
    with av.open(str(path)) as found:
        packets: list[Any] = [packet for packet in found.demux() if packet.size]
        start = min(float(one.pts * one.time_base) for one in packets if one.stream.type == "video")
        sound = [one for one in packets if one.stream.type == "audio"]
        return [(float(one.pts * one.time_base) - start, bytes(one)) for one in sound]


def _copy(packet: Any, stream: Any) -> Any:
    copy: Any = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe, copy.stream = packet.is_keyframe, stream
    return copy
