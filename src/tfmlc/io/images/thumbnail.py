"""Thumbnails: small JPEGs of an image, which replace those of the original image."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image as Pillow

from tfmlc.io.images.image import Pixels, to_depth

SIDES_PX = (160, 112, 80, 56)  # EXIF 2.3, 4.5.5: thumbnails have 160 x 120 px; smaller if there is less space
QUALITIES = (90, 80, 70, 55, 40, 25)


def thumbnail(pixels: Pixels, *, most_bytes: int | None = None) -> bytes | None:
    """Make a baseline JPEG of the largest size and best quality that fits into ``most_bytes``; None if none fits."""
    for side_px in SIDES_PX:
        image = _small(pixels, side_px)
        for quality in QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True)
            if most_bytes is None or buffer.tell() <= most_bytes:
                return buffer.getvalue()
    return None


def _small(pixels: Pixels, side_px: int) -> Pillow.Image:
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = max(1, int(1 / scale / 4))  # skips pixels, because the result is much smaller
    colour = pixels[::step, ::step, : 1 if pixels.shape[2] <= 2 else 3]
    small = cv2.resize(np.ascontiguousarray(to_depth(colour, 8)), size, interpolation=cv2.INTER_AREA)
    return Pillow.fromarray(small).convert("RGB")
