"""Interpolation of frames by optical flow, so that a video of ordinary speed can be averaged without ghosting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.data.synthesis.windows import is_cut
from tfmlc.typed import NOTHING

Frame = NDArray[np.uint8]
Flow = NDArray[np.floating]


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
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    for now in frames:
        if before is not None and now is not None:
            if is_cut(before, now):
                yield from [before] * (times - 1)
            else:
                yield from _between(before, now, times, flow)
        yield now
        before = now


def _between(before: Frame, now: Frame, times: int, flow: cv2.DISOpticalFlow) -> Iterator[Frame]:
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in (before, now)]
    if min(before.shape[:2]) < 16:  # too small for the patches of DIS
        yield from [before] * (times - 1)
        return
    ahead = np.asarray(flow.calc(grey[0], grey[1], NOTHING), np.float32)
    back = np.asarray(flow.calc(grey[1], grey[0], NOTHING), np.float32)
    for number in range(1, times):
        time = np.float32(number / times)
        to_before = time * time * back - (1 - time) * time * ahead
        to_now = (1 - time) * (1 - time) * ahead - time * (1 - time) * back
        parts = (_pull(before, to_before), _pull(now, to_now))
        yield np.asarray(cv2.addWeighted(parts[0], 1 - number / times, parts[1], number / times, 0), np.uint8)


def _pull(frame: Frame, flow: Flow) -> Frame:
    """Return an image whose pixel ``p`` is the pixel ``p + flow(p)`` of the frame."""
    height, width = frame.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(
        cv2.remap(frame, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )
