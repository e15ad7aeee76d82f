"""What an encoder cannot do is known beforehand or is one line, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tfmlc[video]'")

import av

from clips import Clip, write_clip
from tfmlc.deblur import Deblurrer, VideoSettings, deblur_video
from tfmlc.errors import UserError
from tfmlc.io.video import read_properties
from tfmlc.io.video.by_pyav import decode_stored
from tfmlc.io.video.encoding import CODECS, choose_encoding
from tfmlc.io.video.properties import VideoProperties
from tfmlc.networks import Network


class Nothing(Network):
    """A network that returns its input."""

    def __init__(self) -> None:
        super().__init__(step=1, floats_per_px=3)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (blurry,)


def test_av1_takes_videos_of_any_rate(tmp_path: Path) -> None:
    """SVT-AV1 knows 240 frames a second; the times are those of the video."""
    source = write_clip(tmp_path / "a.mp4", Clip(sound=None, pts=tuple(range(0, 60 * 26, 26))))
    assert read_properties(source).rate > 240
    target = tmp_path / "b.mp4"
    deblur_video(source, target, deblurrer=Deblurrer(Nothing()), settings=VideoSettings(codec="av1"))
    times = [
        [frame.pts for frame in decode_stored(path) if isinstance(frame, av.VideoFrame)] for path in (source, target)
    ]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("codec", "size"),
    [("hevc", (64, 2)), ("hevc", (32, 64)), ("hevc", (34, 48)), ("hevc", (48, 720)), ("av1", (64, 2))],
)
def test_sizes_that_an_encoder_does_not_take_are_known_beforehand(
    tmp_path: Path, codec: Any, size: tuple[int, int]
) -> None:
    """At some of these sizes x265 ends the whole process."""
    video = replace(read_properties(write_clip(tmp_path / "a.mkv", Clip(sound=None))), width=size[0], height=size[1])
    with pytest.raises(UserError, match=rf"{codec} cannot store 8 bits at {size[0]}x{size[1]}: use another codec"):
        choose_encoding(video, ".mkv", codec, None)
    assert choose_encoding(replace(video, codec=codec), ".mkv", "auto", None).codec == "h264"


def test_notes_about_streams_that_are_not_restored_reach_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfmlc.deblur.video.not_restored", lambda path, suffix: [f"{path.name} {suffix}"])
    source = write_clip(tmp_path / "a.mkv", Clip(sound=None, pts=(0, 512)))
    assert "a.mkv .mp4" in deblur_video(source, tmp_path / "b.mp4", deblurrer=Deblurrer(Nothing())).notes


def test_an_error_of_the_encoder_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "a.mkv", Clip(sound=None))

    def fast(path: Path) -> VideoProperties:
        return replace(read_properties(path), rate=Fraction(1000))

    monkeypatch.setattr("tfmlc.deblur.video.read_properties", fast)
    monkeypatch.setitem(CODECS, "av1", replace(CODECS["av1"], highest_rate=None))
    with pytest.raises(
        UserError, match=r"a\.mkv: the encoder of av1 failed at 64x48 px and 1000 frames .*: use"
    ) as error:
        deblur_video(source, tmp_path / "b.mkv", deblurrer=Deblurrer(Nothing()), settings=VideoSettings(codec="av1"))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mkv"]
