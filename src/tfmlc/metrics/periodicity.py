"""A metric for patterns with a short period: meshes, checkerboards, borders of blocks and patches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERIOD_PX = 4  # of the mesh that networks can draw if they work at a quarter of the resolution
CROPPED_TO_PX = 8
PEAK_BINS, AROUND_BINS = 5, 29


def periodicity(image: NDArray[np.uint8], period_px: int = PERIOD_PX) -> float:
    """Return how far the power at a period, and at half of it, rises above the spectrum around it.

    The channels are averaged, the sides are cropped to a multiple of 8 px (or of ``period_px`` if it is longer), the
    mean is subtracted and a Hann window is applied. The metric looks at the frequencies (0, 1/p), (1/p, 0),
    (1/p, 1/p), (0, 2/p) and (2/p, 0) cycles per px. At each it divides the mean power of 5 x 5 bins by the median
    power of 29 x 29 bins, and it returns the largest ratio.

    Args:
        image: RGB uint8, ``h w 3``. No sharp image is needed.
        period_px: The period p.

    Returns:
        About 1 to 10 for photos without a mesh, 50 or more for a visible mesh. NaN for an image of one colour or
        with a side below 32 px.

    Example:
        >>> noise = np.random.default_rng(0).integers(100, 150, (96, 128, 1)).repeat(3, axis=2)
        >>> mesh = noise + 30 * (np.arange(128) % 4 == 0)[:, None]
        >>> periodicity(noise.astype(np.uint8)) < 3, periodicity(mesh.astype(np.uint8)) > 50
        (True, True)
    """
    multiple = max(CROPPED_TO_PX, period_px)
    height, width = (side // multiple * multiple for side in image.shape[:2])
    if min(height, width) < AROUND_BINS:
        return math.nan
    grey = image[:height, :width].sum(axis=2, dtype=np.float64)  # three times the mean gives the same ratio
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    once = (0, 1), (1, 0), (1, 1)
    twice = (0, 2), (2, 0)
    places = [(down * height // period_px, right * width // period_px) for down, right in (*once, *twice)]
    return max(_contrast(power, place) for place in places)


def _contrast(power: NDArray[np.float64], place: tuple[int, int]) -> float:
    """Return the mean power of a few bins around a frequency, over the median of more bins; bins wrap around."""

    def around(bins: int) -> NDArray[Any]:
        reach = np.arange(-(bins // 2), bins // 2 + 1)
        rows, columns = ((middle + reach) % size for middle, size in zip(place, power.shape, strict=True))
        return power[np.ix_(rows, columns)]

    peak, usual = float(around(PEAK_BINS).mean()), float(np.median(around(AROUND_BINS)))
    return peak / usual if usual else math.inf if peak else math.nan
