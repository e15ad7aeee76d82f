"""Decoding with OpenCV, which does not report damage: only the frame count in the header can be checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tfmlc.io.video.decoding import Damage, Frame, as_file, broken_promise

COUNTING = {".avi": 0, ".mp4": 2, ".mov": 2, ".m4v": 2}  # headers that count frames; frames that edit lists can drop
SPARE_S, SPARE_FRACTION = 0.5, 0.1  # other headers have a duration, and the sound can be longer by this


def decode(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
    """Yield the frames of a video file, RGB uint8 ``h w 3``, and damage at its end.

    The time of each frame, in s, is appended to ``times``.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are reported in our own lines
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(as_file(path), cv2.CAP_FFMPEG)
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
