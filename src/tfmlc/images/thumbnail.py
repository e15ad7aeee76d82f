"""Small JPEGs of an image, made anew where a file holds one of the image as it was."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image as Pillow

from tfmlc.images.image import Pixels, to_depth

SIDE_PX = 160  # EXIF 2.3, 4.5.5: thumbnails are 160 x 120
QUALITIES = (90, 80, 70, 55, 40, 25)


def thumbnail(pixels: Pixels, *, most_bytes: int | None = None, side_px: int = SIDE_PX) -> bytes | None:
    """A baseline JPEG whose longer side has ``side_px``, at the best quality that fits; None where none does."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = max(1, int(1 / scale / 4))  # what is thrown away anyway is not converted first
    colour = pixels[::step, ::step, : 1 if pixels.shape[2] <= 2 else 3]
    small = cv2.resize(np.ascontiguousarray(to_depth(colour, 8)), size, interpolation=cv2.INTER_AREA)
    image = Pillow.fromarray(small).convert("RGB")
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        if most_bytes is None or buffer.tell() <= most_bytes:
            return buffer.getvalue()
    return None
