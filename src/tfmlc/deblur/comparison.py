"""The comparison of a photo with its result."""

from __future__ import annotations

import numpy as np

from tfmlc.deblur.marks import COMPARISON
from tfmlc.io.images import Image, to_depth


def side_by_side(before: Image, after: Image) -> Image:
    """Join two images of the same size side by side, with a white line between them."""
    left, right = to_depth(before.pixels, 8), to_depth(after.pixels, 8)
    line = np.full((left.shape[0], 4, left.shape[2]), 255, np.uint8)
    return Image(np.concatenate([left, line, right], axis=1), icc=before.icc, restored=COMPARISON)
