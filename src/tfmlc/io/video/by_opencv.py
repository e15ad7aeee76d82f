"""Decoding by OpenCV, which does not tell damage: only the promise of the header can be compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tfmlc.io.video.decoding import Damage, Frame, broken_promise

COUNTING = {".avi": 0, ".mp4": 2, ".mov": 2, ".m4v": 2}  # headers that count frames, and how many an edit list may drop
SPARE_S, SPARE_FRACTION = 0.5, 0.1  # by which the sound may be longer, where the header tells the time alone


def decode(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
    """Frames of a video file, RGB uint8 ``h w 3``, and damage at its end; ``times`` gets each frame's time in s."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what goes wrong is told in a line
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    index = 0
    try:
        while True:
            time = float(capture.get(cv2.CAP_PROP_POS_MSEC))
            read, frame = capture.read()
            if not read:
                break
            times.append(time / 1000)
            index += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame), np.uint8)
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        longer = min(SPARE_S * max(float(capture.get(cv2.CAP_PROP_FPS)), 0.0), SPARE_FRACTION * promised)
        spare = COUNTING.get(path.suffix.lower(), 2 + int(longer))
    finally:
        capture.release()
    if 0 < index < promised - spare:
        yield broken_promise(index, promised)
