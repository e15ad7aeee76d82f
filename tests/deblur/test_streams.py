"""Streams beside the restored one: what cannot be copied is refused or named, before a frame is restored."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tfmlc[video]'")

from clips import Clip, write_clip
from tfmlc.errors import UserError
from tfmlc.io.video.muxing import check_streams


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
