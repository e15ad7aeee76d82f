"""How sharp a picture is, in one number."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.images import to_depth


def sharpness(pixels: NDArray[Any]) -> float:
    """Variance of the Laplacian of the luma of a uint8 or uint16 ``h w c`` picture, on the scale of 8 bits.

    Larger is sharper, for pictures of the same scene; noise counts as sharpness too
    (Pech-Pacheco et al., ICPR 2000).

    >>> import numpy as np
    >>> flat, checkered = np.zeros((8, 8, 1), np.uint8), np.indices((8, 8, 1)).sum(0).astype(np.uint8) % 2 * 255
    >>> sharpness(flat) < sharpness(checkered)
    True
    """
    eight = to_depth(pixels, 8)
    colours = eight[..., :1] if eight.shape[2] <= 2 else eight[..., :3]
    luma = cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2GRAY) if colours.shape[2] == 3 else colours[..., 0]
    return float(cv2.Laplacian(np.ascontiguousarray(luma), cv2.CV_32F).var())
