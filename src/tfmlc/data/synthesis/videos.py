"""Blur of several levels by averaging windows of a video. The memory does not grow with the window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tfmlc.config import Config
from tfmlc.data.synthesis.blur import LINEAR_GAMMA
from tfmlc.data.synthesis.interpolation import interpolated
from tfmlc.data.synthesis.windows import BlurWindow, WindowFinder
from tfmlc.io.video import Frame, OnBad, Video, read_frames
from tfmlc.runtime.parallel import read_ahead

FRAMES_AHEAD = 2
KEPT_BYTES = 64 * 2**20  # frames of the window that are kept; older frames are read again
Light = NDArray[np.float32]


class VideoBlurConfig(Config):
    """The settings of finding windows in a video and averaging them."""

    min_frames: int = Field(default=15, ge=2, description="smallest number of frames of a window")
    min_displacement_px: float = Field(default=25.0, ge=0, description="smallest motion of a window, in px")
    levels: int = Field(default=2, ge=1, description="number of blur strengths per window; the paper has two")
    light: Literal["stored", "linear"] = Field(
        default="stored", description="what is averaged: stored values or linear light"
    )
    interpolate: int = Field(
        default=1,
        ge=1,
        description="factor by which optical flow multiplies the number of frames; 8 is good for 30 fps, 1: none",
    )
    scale: float = Field(default=1.0, gt=0, le=1, description="factor by which frames are shrunk first")
    on_bad: OnBad = Field(default="stop", description="what to do if a frame cannot be read")


@dataclass(frozen=True)
class VideoWindow:
    """A window of a video, with what is needed to average it.

    Attributes:
        window: The window.
        kept: Its newest frames.
        older: The sum of its older frames.
        again: Reads the older frames again.
    """

    window: BlurWindow
    kept: tuple[Frame, ...]
    older: Light | None
    again: _Again

    def average(self) -> list[Frame]:
        """Return the sharp middle frame, and the blurry images from weakest to strongest, uint8 ``h w 3``.

        It may run in another thread, but the windows of a video must be averaged one after the other.
        """
        window, config = self.window, self.again.config
        linear = config.light == "linear"
        spans = [window.level(level, config.levels) for level in range(1, config.levels)]
        sums: list[Light | None] = [None] * len(spans)
        sharp = self.kept[-1]
        for index, frame in self._middle([(window.sharp, window.sharp + 1), *spans]):
            if index == window.sharp:
                sharp = frame
            for number, (start, stop) in enumerate(spans):
                if start <= index < stop:
                    sums[number] = _add(sums[number], frame, linear)
        whole = self.older
        for frame in self.kept:
            whole = _add(whole, frame, linear)
        counts = [stop - start for start, stop in [*spans, (window.start, window.stop)]]
        means = [_mean(total, count, linear) for total, count in zip([*sums, whole], counts, strict=True)]
        return [sharp, *(sharp if mean is None else mean for mean in means)]

    def _middle(self, spans: list[tuple[int, int]]) -> Iterator[tuple[int, Frame]]:
        """Yield the frames that ``spans`` need, with their numbers. Frames that are not kept are read again."""
        first, last = min(start for start, _ in spans), max(stop for _, stop in spans)
        first_kept = self.window.stop - len(self.kept)
        if first < first_kept:
            yield from enumerate(self.again.read(first, min(first_kept, last)), first)
        for index in range(max(first, first_kept), last):
            yield index, self.kept[index - first_kept]


def video_frames(
    video: Video, config: VideoBlurConfig, tell: Callable[[str], None] = lambda _: None
) -> Iterator[Frame | None]:
    """Yield the frames of a video, scaled and interpolated. None stands for missing frames.

    Args:
        video: The video.
        config: The settings.
        tell: Called with remarks for the user.
    """
    frames = (_scaled(frame, config.scale) for frame in read_frames(video, on_bad=config.on_bad, tell=tell))
    return frames if config.interpolate == 1 else interpolated(frames, config.interpolate)


def video_windows(
    video: Video, config: VideoBlurConfig, tell: Callable[[str], None] = lambda _: None
) -> Iterator[VideoWindow]:
    """Find the windows of a video (ICIP 2023, section 2.1).

    The newest frames of a window are kept in memory, up to ``KEPT_BYTES``. Of older frames only the sum is kept. If a
    weaker blur level needs them, they are read again.

    Args:
        video: The video.
        config: The settings.
        tell: Called with remarks for the user.

    Yields:
        The windows, ready to be averaged.

    Raises:
        UserError: If the video cannot be read.
    """
    finder = WindowFinder(min_frames=config.min_frames, min_displacement_px=config.min_displacement_px)
    linear = config.light == "linear"
    kept: deque[Frame] = deque()
    older: Light | None = None  # the sum of the window's frames that are no longer kept
    again = _Again(video, config)
    for frame in read_ahead(video_frames(video, config, tell), FRAMES_AHEAD):
        if frame is None:
            finder.restart()
            kept.clear()
            older = None
            continue
        first = finder.first
        window = finder.push(frame)
        if window is None and finder.first != first:  # a scene cut: a new window starts with this frame
            kept.clear()
            older = None
        if kept and len(kept) * frame.nbytes >= KEPT_BYTES:
            older = _add(older, kept.popleft(), linear)
        kept.append(frame)
        if window is not None:
            yield VideoWindow(window, tuple(kept), older, again)
            kept.clear()
            older = None


class _Again:
    """Reads a video a second time, only forward."""

    def __init__(self, video: Video, config: VideoBlurConfig) -> None:
        self.video, self.config = video, config
        self.frames: Iterator[Frame] | None = None
        self.index = 0

    def read(self, start: int, stop: int) -> Iterator[Frame]:
        """Yield the frames from ``start`` to ``stop - 1``. ``start`` must not be less than the last ``stop``."""
        if self.frames is None:
            self.frames = (frame for frame in video_frames(self.video, self.config) if frame is not None)
        for _ in islice(self.frames, start - self.index):
            pass
        self.index = stop
        yield from islice(self.frames, stop - start)


def _add(total: Light | None, frame: Frame, linear: bool) -> Light:
    if total is None:
        total = np.zeros(frame.shape, np.float32)
    cv2.accumulate(np.asarray(cv2.LUT(frame, TO_LIGHT), np.float32) if linear else frame, total)
    return total


def _mean(total: Light | None, count: int, linear: bool) -> Frame | None:
    """Return the mean of a sum of frames, rounded to 8 bits; None if there was no frame."""
    if total is None:
        return None
    if not linear:
        return np.asarray(cv2.divide(total, cast(Any, float(count)), dtype=cv2.CV_8U), np.uint8)
    mean = (total / np.float32(count)) ** np.float32(1 / LINEAR_GAMMA)
    return np.rint(mean * 255).clip(0, 255).astype(np.uint8)


TO_LIGHT = ((np.arange(256) / 255.0) ** LINEAR_GAMMA).astype(np.float32)


def _scaled(frame: Frame | None, scale: float) -> Frame | None:
    if frame is None or scale == 1:
        return frame
    height, width = frame.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
