"""Streams beside the restored one: what cannot be copied is refused or named, before a frame is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tfmlc[video]'")

import av
from av.stream import Disposition

from clips import Clip, write_clip
from conftest import make_photo
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.io.video.muxing import check_streams, not_restored


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


def _copy(packet: Any, stream: Any) -> Any:
    copy: Any = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe, copy.stream = packet.is_keyframe, stream
    return copy
