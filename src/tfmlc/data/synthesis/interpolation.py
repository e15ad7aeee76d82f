"""Interpolation of frames by optical flow, so that a video of ordinary speed can be averaged without ghosting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.io.video.motion import LEAST_FLOW_PX, flow_of, is_cut, pull

Frame = NDArray[np.uint8]


def interpolated(frames: Iterable[Frame | None], times: int) -> Iterator[Frame | None]:
    """Add ``times - 1`` interpolated frames between every two frames.

    The optical flow is OpenCV's DIS in both directions. At a scene cut, the frame before it is repeated.

    Args:
        frames: The frames, RGB uint8 ``h w 3``. None stands for missing frames.
        times: The factor by which the number of frames grows.

    Yields:
        The frames. Frame ``i`` of the input becomes frame ``i * times``. None is passed on.

    References:
        Jiang et al., "Super SloMo", CVPR 2018, equation 4.

    Example:
        >>> frames = [np.full((32, 32, 3), value, np.uint8) for value in (100, 104)]
        >>> [int(frame.mean()) for frame in interpolated(frames, 2) if frame is not None]
        [100, 102, 104]
    """
    before: Frame | None = None
    for now in frames:
        if before is not None and now is not None:
            if is_cut(before, now):
                yield from [before] * (times - 1)
            else:
                yield from _between(before, now, times)
        yield now
        before = now


def _between(before: Frame, now: Frame, times: int) -> Iterator[Frame]:
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in (before, now)]
    if min(before.shape[:2]) < LEAST_FLOW_PX:
        yield from [before] * (times - 1)
        return
    ahead, back = flow_of(grey[0], grey[1]), flow_of(grey[1], grey[0])
    for number in range(1, times):
        time = np.float32(number / times)
        to_before = time * time * back - (1 - time) * time * ahead
        to_now = (1 - time) * (1 - time) * ahead - time * (1 - time) * back
        parts = (pull(before, to_before), pull(now, to_now))
        yield np.asarray(cv2.addWeighted(parts[0], 1 - number / times, parts[1], number / times, 0), np.uint8)
