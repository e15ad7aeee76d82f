"""Conversion between Pillow images of all modes and the arrays that a deblurrer takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.errors import UserError

SIMPLE = ("L", "LA", "RGB", "RGBA")
SIMPLER = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "P": "RGB", "RGBX": "RGB"}
OTHER_COLOURS = ("CMYK", "YCbCr", "HSV")  # become RGB, so their colour profile does not fit any more
DEEPEST = 65_535
KEY = "transparency"  # in the info: a colour that means transparent, which restored pixels do not keep
WITH_ALPHA = {"1": "LA", "L": "LA", "RGB": "RGBA", "P": "RGBA"}


def to_array(image: Image.Image) -> NDArray[Any]:
    """Convert an image to uint8, uint16 or float32, ``h w`` or ``h w c``.

    Raises UserError if the mode is not supported, or the value of white is not clear.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        values = np.asarray(image)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < 0 or high > DEEPEST or 0 < high <= 255:
            raise UserError(
                f"an image of mode I is read as 16 bits, but this one has values from {low} to {high}: "
                "convert it to mode I;16, L or F first"
            )
        return values.astype(np.uint16)
    if image.mode == "F":
        return np.asarray(image)
    if KEY in image.info and image.mode in WITH_ALPHA:
        return np.asarray(image.convert(WITH_ALPHA[image.mode]))
    if image.mode in SIMPLE:
        return np.asarray(image)
    if image.mode not in SIMPLER and image.mode not in OTHER_COLOURS:
        raise UserError(f"images of mode {image.mode} are not supported: convert it to RGB first")
    return np.asarray(image.convert(SIMPLER.get(image.mode, "RGB")))


def from_array(pixels: NDArray[Any], like: Image.Image) -> Image.Image:
    """Convert restored pixels to an image with the mode and the info of the original, as far as they fit."""
    if like.mode.startswith("I") and isinstance(key := like.info.get(KEY), int):
        pixels = _with_key(pixels, key, np.asarray(like) == key)
    if like.mode == "I":
        pixels = pixels.astype(np.int32)
    elif like.mode == "I;16B":
        pixels = pixels.astype(">u2")
    image = Image.fromarray(pixels)
    changed = image.mode != like.mode
    left_out = (KEY, *(("icc_profile",) if like.mode in OTHER_COLOURS else ())) if changed else ()
    info = like.info
    image.info = {name: value for name, value in info.items() if name not in left_out}
    return image


def _with_key(pixels: NDArray[Any], key: int, see_through: NDArray[np.bool_]) -> NDArray[Any]:
    """Give the value that means transparent to the pixels that had it, and to no other."""
    beside = key - 1 if key >= DEEPEST else key + 1
    return np.where(see_through, key, np.where(pixels == key, beside, pixels)).astype(pixels.dtype)
