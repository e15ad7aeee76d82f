"""Blur windows: runs of frames with enough motion, whose mean is a blurry image (ICIP 2023, section 2.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.io.video.motion import Look, look_of
from tfmlc.typed import NOTHING

Frame = NDArray[np.uint8]
Points = NDArray[np.float32]
CORNERS: dict[str, Any] = {"maxCorners": 100, "qualityLevel": 0.3, "minDistance": 7, "blockSize": 7}
TRACKING: dict[str, Any] = {
    "winSize": (15, 15),
    "maxLevel": 2,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03),
}


@dataclass(frozen=True)
class BlurWindow:
    """A run of frames. Its mean is the strong blur, and the mean of its middle half is the weak blur.

    Attributes:
        start: The index of the first frame.
        stop: The index after the last frame.
        displacement_px: The accumulated motion from ``start`` on, in px.
    """

    start: int
    stop: int
    displacement_px: float

    @property
    def sharp(self) -> int:
        """The index of the middle frame, which is the sharp image."""
        return self.start + (self.stop - self.start) // 2

    @property
    def weak(self) -> tuple[int, int]:
        """The index of the first frame of the weak blur, and the index after its last frame."""
        return self.level(1, 2)

    def level(self, level: int, levels: int) -> tuple[int, int]:
        """Return the first frame of a blur level, and the index after its last frame.

        Level ``levels`` is the whole window.

        >>> window = BlurWindow(10, 31, 25.0)
        >>> window.sharp, window.weak, [window.level(number, 3) for number in (1, 2, 3)]
        (20, (15, 25), [(17, 23), (14, 26), (10, 31)])
        """
        if level == levels:
            return self.start, self.stop
        half = (self.sharp - self.start) * level // levels
        return self.sharp - half, self.sharp + half


class WindowFinder:
    """Finds windows frame by frame; ``push`` returns the window that a frame completes, or None.

    ``first`` is the index of the first frame of the growing window. A scene cut starts a new window.
    """

    def __init__(self, *, min_frames: int = 15, min_displacement_px: float = 25.0) -> None:
        if min_frames < 2 or not min_displacement_px >= 0:
            raise UserError("a window needs at least 2 frames and a motion of 0 px or more")
        self.min_frames, self.min_displacement_px = min_frames, min_displacement_px
        self.index = 0
        self.cuts: list[int] = []
        self.restart()

    def restart(self) -> None:
        """Start a new window at the next frame, for example after missing frames."""
        self.first, self.displacement_px = self.index, 0.0
        self._grey: Frame | None = None
        self._look: Look | None = None
        self._points: Points = np.empty((0, 1, 2), np.float32)

    def push(self, frame: Frame) -> BlurWindow | None:
        """Add the next frame, RGB uint8 ``h w 3``; all frames have the same size."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UserError(f"frame {self.index} must be RGB uint8 h w 3, not {frame.dtype} {frame.shape}")
        if self._grey is not None and self._grey.shape != frame.shape[:2]:
            raise UserError(
                f"frame {self.index} is {frame.shape[1]}x{frame.shape[0]}, but the frames before are "
                f"{self._grey.shape[1]}x{self._grey.shape[0]}: cut the video there"
            )
        grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
        look = look_of(frame)
        if self._look is not None and self._look.is_cut_to(look):
            self.cuts.append(self.index)
            self.restart()
        if self._grey is None:
            self._points = corners(grey)
        else:
            self.displacement_px += self._step(self._grey, grey)
        self._grey, self._look = grey, look
        self.index += 1
        if self.index - self.first < self.min_frames or self.displacement_px < self.min_displacement_px:
            return None
        window = BlurWindow(self.first, self.index, self.displacement_px)
        self.first, self.displacement_px, self._grey = self.index, 0.0, None
        return window

    def _step(self, before: Frame, now: Frame) -> float:
        """Return the mean motion of the tracked points in px; new points are detected if none is left."""
        for attempt in range(2):
            if attempt or not len(self._points):
                self._points = corners(before)
            if not len(self._points):
                return 0.0
            moved, kept = _track(before, now, self._points)
            if kept.any():
                motion = np.linalg.norm((moved - self._points)[kept].reshape(-1, 2), axis=1)
                self._points = moved[kept]
                return float(motion.mean())
        return 0.0


def blur_windows(
    frames: Iterable[Frame], *, min_frames: int = 15, min_displacement_px: float = 25.0
) -> Iterator[BlurWindow]:
    """Split the frames of a video into windows with enough frames and motion.

    The motion between two frames is the mean displacement of Shi-Tomasi corners of the window's first frame, tracked
    by pyramidal Lucas-Kanade. Windows do not overlap and do not cross scene cuts. An incomplete window at the end of
    the video is dropped. Frames are read one by one, so memory does not grow with the length of the video.

    Args:
        frames: The frames, RGB uint8 ``h w 3``, all of the same size.
        min_frames: The minimum number of frames of a window.
        min_displacement_px: The minimum accumulated motion of a window, in px.

    Yields:
        The windows in order.

    Raises:
        UserError: If a frame has another type or size, or a setting is out of range.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, section 2.1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> wall = cv2.resize(rng.integers(0, 256, (60, 160, 3), dtype=np.uint8), (640, 240))
        >>> pan = (wall[:, 3 * t : 3 * t + 320] for t in range(40))
        >>> [(window.start, window.sharp, window.stop) for window in blur_windows(pan)]
        [(0, 7, 15), (15, 22, 30)]
    """
    finder = WindowFinder(min_frames=min_frames, min_displacement_px=min_displacement_px)
    for frame in frames:
        window = finder.push(frame)
        if window is not None:
            yield window


def _track(before: Frame, now: Frame, points: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Track points from one grey image to the next; return their positions and which of them were found."""
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, NOTHING, **TRACKING)
    return np.asarray(moved, np.float32), np.asarray(found, np.uint8).reshape(-1) == 1


def corners(grey: Frame) -> Points:
    """Return the Shi-Tomasi corners of a grey image, ``n 1 2``; a flat image has none."""
    found = cast(object, cv2.goodFeaturesToTrack(grey, **CORNERS))
    return np.empty((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)
