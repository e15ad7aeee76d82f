"""Blur windows of real videos, against those of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from seeded import read_json

from tfmlc.data import blur_windows
from tfmlc.io.video import find_videos, read_frames

VIDEOS = ("gopro_walk_30fps.mp4", "dog.mp4", "cups.mp4", "juggle.mp4", "handheld_cup.mp4")


@pytest.mark.parametrize("video", VIDEOS)
def test_windows(shared: Path, video: str) -> None:
    golden = read_json("windows.json")[video]
    frames = [frame for frame in read_frames(find_videos([shared / "data" / "video" / video])[0]) if frame is not None]
    assert len(frames) == golden["frames"]
    found = [
        {
            "start": window.start,
            "stop": window.stop,
            "sharp": window.sharp,
            "weak": list(window.weak),
            "displacement_px": round(window.displacement_px, 4),
        }
        for window in blur_windows(frames)
    ]
    assert found == golden["windows"]
