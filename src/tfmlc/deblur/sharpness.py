"""A measure of how sharp an image is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.io.images import to_depth

ROWS = 256  # so many rows are processed at a time, so that a large image needs little memory


def sharpness(pixels: NDArray[Any]) -> float:
    """Return the variance of the Laplacian of the luma.

    Higher is sharper, among images of the same scene. Noise also counts as sharpness.

    Args:
        pixels: An image ``h w c``: uint8, uint16 or float32 in [0, 1].

    Returns:
        The variance, on the scale of 8 bits.

    References:
        Pech-Pacheco et al., "Diatom Autofocusing in Brightfield Microscopy: a Comparative Study", ICPR 2000.

    Example:
        >>> flat, checkered = np.zeros((8, 8, 1), np.uint8), np.indices((8, 8, 1)).sum(0).astype(np.uint8) % 2 * 255
        >>> sharpness(flat) < sharpness(checkered)
        True
    """
    height, total, squares = pixels.shape[0], 0.0, 0.0
    for start in range(0, height, ROWS):
        first, stop = max(0, start - 1), min(height, start + ROWS)
        luma = _luma(to_depth(pixels[first : stop + 1], 8))
        values = cv2.Laplacian(luma, cv2.CV_32F)[start - first : stop - first].astype(np.float64)
        total, squares = total + float(values.sum()), squares + float(np.square(values).sum())
    mean = total / (height * pixels.shape[1])
    return squares / (height * pixels.shape[1]) - mean**2


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.shape[2] <= 2:
        return np.ascontiguousarray(pixels[..., 0])
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY))


def edges(before: float, after: float) -> str:
    """Describe the change from one value of ``sharpness`` to another in words.

    >>> edges(100.0, 225.0), edges(0.0, 0.0)
    ('edges 1.5 times as strong', 'no edges')
    """
    if not before:
        return "no edges"
    return f"edges {(after / before) ** 0.5:.1f} times as strong"  # sharpness is a variance
