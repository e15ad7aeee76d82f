"""How much of an image repeats with a short period: meshes, checkerboards, block and patch borders."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERIOD_PX = 4  # of the meshes that networks draw which work at a quarter of the resolution
CROPPED_TO_PX = 8
PEAK_BINS, AROUND_BINS = 5, 29


def periodicity(image: NDArray[np.uint8], period_px: int = PERIOD_PX) -> float:
    """How far the power at a period and at half of it stands out of its surroundings; no reference is needed.

    ``image`` is uint8 RGB ``h w 3``. Grey is the mean of the channels; the sides are cropped to a multiple of 8 (of
    ``period_px`` where that is longer), the mean is removed, and a Hann window is applied. At the frequencies (0, 1/p),
    (1/p, 0), (1/p, 1/p), (0, 2/p) and (2/p, 0) cycles a px, the mean power of the 5 x 5 bins around is divided by the
    median of the 29 x 29 bins around; the largest counts. About 1 to 10 for photos without a mesh, 50 and more for a
    visible one. NaN for an image of one colour, or with a side below 32 px.

    >>> noise = np.random.default_rng(0).integers(100, 150, (96, 128, 1)).repeat(3, axis=2)
    >>> mesh = noise + 30 * (np.arange(128) % 4 == 0)[:, None]
    >>> periodicity(noise.astype(np.uint8)) < 3, periodicity(mesh.astype(np.uint8)) > 50
    (True, True)
    """
    multiple = max(CROPPED_TO_PX, period_px)
    height, width = (side // multiple * multiple for side in image.shape[:2])
    if min(height, width) < AROUND_BINS:
        return math.nan
    grey = image[:height, :width].sum(axis=2, dtype=np.float64)  # three times the mean: the ratio does not change
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    once = (0, 1), (1, 0), (1, 1)
    twice = (0, 2), (2, 0)
    places = [(down * height // period_px, right * width // period_px) for down, right in (*once, *twice)]
    return max(_contrast(power, place) for place in places)


def _contrast(power: NDArray[np.float64], place: tuple[int, int]) -> float:
    """Mean power of the bins around a place over the median of more of them; frequencies go round."""

    def around(bins: int) -> NDArray[Any]:
        reach = np.arange(-(bins // 2), bins // 2 + 1)
        rows, columns = ((middle + reach) % size for middle, size in zip(place, power.shape, strict=True))
        return power[np.ix_(rows, columns)]

    peak, usual = float(around(PEAK_BINS).mean()), float(np.median(around(AROUND_BINS)))
    return peak / usual if usual else math.inf if peak else math.nan
