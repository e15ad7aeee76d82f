"""How sharp an image is, in one number."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.io.images import to_depth

ROWS = 256  # that are looked at at a time, so that a large image needs little memory


def sharpness(pixels: NDArray[Any]) -> float:
    """Variance of the Laplacian of the luma of a uint8 or uint16 ``h w c`` image, on the scale of 8 bits.

    Larger is sharper, for images of the same scene; noise counts as sharpness too
    (Pech-Pacheco et al., ICPR 2000).

    >>> import numpy as np
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
    """What two values of ``sharpness``, of a photo before and after, say in words.

    >>> edges(100.0, 225.0), edges(0.0, 0.0)
    ('edges 1.5 times as strong', 'no edges')
    """
    if not before:
        return "no edges"
    return f"edges {(after / before) ** 0.5:.1f} times as strong"  # sharpness is their variance
