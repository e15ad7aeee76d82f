"""Videos as arrays: damage is told where it is, and folders of frames are read by their counter."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.io.video import find_videos, read_frames
from tfmlc.io.video.by_opencv import decode as decode_by_opencv
from tfmlc.io.video.decoding import Damage, Frame

COUNT = 20
WIDE = cv2.resize(np.random.default_rng(3).integers(0, 256, (20, 40, 3), np.uint8), (300, 130))


def write_video(path: Path, code: str) -> bytes:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 30, (96, 64))
    for index in range(COUNT):
        writer.write(np.ascontiguousarray(WIDE[5:69, 2 * index : 2 * index + 96]))
    writer.release()
    return path.read_bytes()


def write_frames(folder: Path, names: list[str]) -> None:
    for value, name in enumerate(names):
        write_image(folder / name, Image(np.full((8, 8, 3), value, np.uint8)))


def read(path: Path, on_bad: str) -> tuple[list[bool], list[str]]:
    """Which frames there are (False: a gap), and what was told."""
    told: list[str] = []
    frames = list(read_frames(find_videos([path])[0], on_bad=on_bad, tell=told.append))  # pyright: ignore
    return [frame is not None for frame in frames], told


@pytest.mark.parametrize(("suffix", "code"), [("mkv", "mp4v"), ("avi", "MJPG"), ("mp4", "mp4v")])
def test_a_whole_video_tells_nothing(tmp_path: Path, suffix: str, code: str) -> None:
    write_video(tmp_path / f"a.{suffix}", code)
    assert read(tmp_path / f"a.{suffix}", "stop") == ([True] * COUNT, [])


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: pip install 'tfmlc[video]'")
def test_a_dropped_frame_of_avi_is_no_damage(tmp_path: Path) -> None:
    import av

    with av.open(tmp_path / "a.avi", "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 96, 64
        for number in (0, 2, 3, 4):
            frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 40 * number, np.uint8), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(tmp_path / "a.avi") as container:
        assert container.streams.video[0].frames == 5
    assert read(tmp_path / "a.avi", "stop") == ([True] * 4, [])


def test_a_video_that_is_cut_off(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv", "mp4v")
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="of 20 frames: it is cut off or damaged"):
        read(tmp_path / "a.mkv", "stop")
    there, told = read(tmp_path / "a.mkv", "skip")
    assert sum(there) < COUNT
    assert any("of 20 frames" in line for line in told)


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: pip install 'tfmlc[video]'")
def test_damage_inside_a_video_is_a_gap_where_it_is(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "a.avi", "MJPG"))
    places = [at for at in range(len(content)) if content[at : at + 4] == b"00dc"]
    content[places[12] - 200 : places[12] + 200] = bytes(400)
    (tmp_path / "a.avi").write_bytes(content)
    with pytest.raises(UserError, match=r"after 1[01] good frames"):
        read(tmp_path / "a.avi", "stop")
    there, told = read(tmp_path / "a.avi", "skip")
    assert sum(there) in (17, 18)
    assert there[:10] == [True] * 10
    assert len([line for line in told if "damaged" in line or "missing" in line]) >= 1


def test_without_pyav_the_promise_is_compared(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv", "mp4v")
    (tmp_path / "a.mkv").write_bytes(content[: len(content) // 2])
    items = list(decode_by_opencv(tmp_path / "a.mkv", []))
    assert isinstance(items[-1], Damage)
    assert "of 20 frames" in items[-1].why


def test_counters_before_a_word_are_seen(tmp_path: Path) -> None:
    write_frames(tmp_path, ["0001_left.png", "0002_left.png", "0010_left.png", "0004_left.png"])
    there, told = read(tmp_path, "stop")
    assert there == [True, True, False, True, False, True]
    assert any("3" in line and "missing" in line for line in told)


def test_one_frame_in_two_formats_is_refused(tmp_path: Path) -> None:
    write_frames(tmp_path, ["0001.png", "0002.png", "0002.bmp"])
    with pytest.raises(UserError, match=r"one frame twice, 0002\.bmp and 0002\.png"):
        read(tmp_path, "stop")


def test_a_broken_frame_is_a_gap(tmp_path: Path) -> None:
    write_frames(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"2\.png"):
        read(tmp_path, "stop")
    there, told = read(tmp_path, "skip")
    assert there == [True, False, True]
    assert len(told) == 1


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: pip install 'tfmlc[video]'")
def test_a_title_need_not_be_utf8(tmp_path: Path) -> None:
    """Cameras and old programs write titles in the code page of their country."""
    content = write_video(tmp_path / "a.avi", "MJPG")
    maker = content.index(b"Lavf")  # who wrote the file, one of its texts
    (tmp_path / "a.avi").write_bytes(content[:maker] + "Grün".encode("latin-1") + content[maker + 4 :])
    assert read(tmp_path / "a.avi", "stop") == ([True] * COUNT, [])


@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_a_codec_that_is_not_known_is_refused_in_one_line(tmp_path: Path, on_bad: str) -> None:
    content = write_video(tmp_path / "a.avi", "MJPG")
    (tmp_path / "a.avi").write_bytes(content.replace(b"MJPG", b"ZZZZ"))
    with pytest.raises(UserError, match=r"a\.avi cannot be decoded: .* has an unknown codec"):
        read(tmp_path / "a.avi", on_bad)


@pytest.mark.skipif(find_spec("av") is None, reason="PyAV is not installed: pip install 'tfmlc[video]'")
@pytest.mark.parametrize("error", [TypeError("no time base"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")])
def test_whatever_a_decoder_raises_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def decode(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
        for item in decode_by_opencv(path, times):
            yield item
            if len(times) == 3:
                raise error

    write_video(tmp_path / "a.avi", "MJPG")
    monkeypatch.setattr("tfmlc.io.video.by_pyav.decode", decode)
    there, told = read(tmp_path / "a.avi", "skip")
    assert there == [True] * 3 + [False]
    assert len(told) == 1
    assert "cannot be decoded further" in told[0]
    with pytest.raises(UserError, match="cannot be decoded further"):
        read(tmp_path / "a.avi", "stop")


@pytest.mark.parametrize("name", ["file:a.avi", "trip:rome.avi", "concat:a.avi|a.avi"])
def test_a_relative_name_with_a_colon_is_a_file_and_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_video(tmp_path / "whole.avi", "MJPG")
    write_video(tmp_path / "a.avi", "MJPG")
    (tmp_path / "whole.avi").rename(tmp_path / name)
    (tmp_path / "a.avi").write_bytes(b"another file")
    monkeypatch.chdir(tmp_path)
    assert read(Path(name), "stop") == ([True] * COUNT, [])
    assert len(list(decode_by_opencv(Path(name), []))) == COUNT
