"""Frames between frames, by optical flow, so that an ordinary video can be averaged without ghosts."""

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
    """The frames with ``times - 1`` more between every two: frame ``i`` of the video becomes number ``i * times``.

    Flow by OpenCV's DIS in both directions, combined as in Jiang et al., CVPR 2018, equation 4. Nothing is made up
    across a scene cut: the frame before it is repeated. None (missing frames) is handed on.
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
    if min(before.shape[:2]) < 16:  # too small for the flow's patches
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
    """The image whose pixel ``p`` is the frame's at ``p + flow(p)``."""
    height, width = frame.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    return np.asarray(
        cv2.remap(frame, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )
