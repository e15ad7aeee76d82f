"""Motion between frames: optical flow and scene cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.io.video.decoding import Frame
from tfmlc.typed import NOTHING

Flow = NDArray[np.floating]
LEAST_FLOW_PX = 16  # smaller frames do not hold a patch of the flow
# A scene cut changes the colours of the whole image or its coarse layout. In real videos with violent motion the
# change of colours stays below 0.018 and that of the layout below 0.44; at cuts one is above 0.037 or 0.73.
COLOUR_BINS, CELLS, CELL_PX = 32, 3, 32
CUT_COLOUR, CUT_LAYOUT = 0.026, 0.6
LAYOUT_PX, LEAST_CONTRAST = 16, 4.0
WHERE = np.arange(CELLS * CELL_PX) // CELL_PX
FIRST_BIN = ((WHERE[:, None, None] * CELLS + WHERE[:, None]) * 3 + np.arange(3)) * COLOUR_BINS  # of a pixel's cell


@dataclass(frozen=True)
class Look:
    """The features that tell scenes apart.

    Attributes:
        colours: Cumulative distributions of the Lab colours in a grid of cells, ``cells*3 bins``.
        layout: A tiny grey image without its mean, flattened.
    """

    colours: NDArray[np.float32]
    layout: NDArray[np.float32]

    def is_cut_to(self, other: Look) -> bool:
        """Whether two successive frames with these looks are of different scenes."""
        if float(np.abs(self.colours - other.colours).mean()) > CUT_COLOUR:
            return True
        contrast = float(self.layout.std()), float(other.layout.std())
        agreement = float((self.layout * other.layout).mean()) / max(contrast[0] * contrast[1], 1e-6)
        return min(contrast) > LEAST_CONTRAST and 1 - agreement > CUT_LAYOUT


def look_of(frame: Frame) -> Look:
    """Return the look of a frame, RGB uint8 ``h w 3``."""
    small = cv2.resize(frame, (CELLS * CELL_PX, CELLS * CELL_PX), interpolation=cv2.INTER_NEAREST)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.uint8)
    bins = FIRST_BIN + lab // (256 // COLOUR_BINS)
    counts = np.bincount(bins.reshape(-1), minlength=CELLS**2 * 3 * COLOUR_BINS)
    fractions = counts.reshape(-1, COLOUR_BINS).cumsum(axis=1) / CELL_PX**2
    tiny = cv2.resize(lab[..., 0].astype(np.float32), (LAYOUT_PX, LAYOUT_PX), interpolation=cv2.INTER_AREA)
    return Look(fractions.astype(np.float32), np.asarray(tiny - tiny.mean(), np.float32))


def is_cut(before: Frame, now: Frame) -> bool:
    """Whether two successive frames, RGB uint8 ``h w 3``, are of different scenes."""
    return look_of(before).is_cut_to(look_of(now))


def flow_of(before: Frame, now: Frame) -> Flow:
    """Return the optical flow from one grey frame ``h w`` to another, ``h w 2`` in px, by OpenCV's DIS."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(dis.calc(before, now, NOTHING), np.float32)


def pull(image: NDArray[Any], flow: Flow, interpolation: int = cv2.INTER_LINEAR) -> NDArray[Any]:
    """Return the image whose pixel ``p`` is the given image's at ``p + flow(p)``."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + flow[..., 0], y + flow[..., 1]
    pulled = cv2.remap(
        np.ascontiguousarray(image),
        x.astype(np.float32),
        y.astype(np.float32),
        interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(pulled, image.dtype).reshape(image.shape)  # OpenCV drops an axis of length 1
