"""Pillow's modes as the arrays a deblurrer takes, and back."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.errors import UserError

SIMPLE = ("L", "LA", "RGB", "RGBA")
SIMPLER = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "P": "RGB", "RGBX": "RGB"}
OTHER_COLOURS = ("CMYK", "YCbCr", "HSV")  # become RGB, so that their profile no longer fits
DEEPEST = 65_535


def to_array(image: Image.Image) -> NDArray[Any]:
    """An image as uint8, uint16 or float32 ``h w`` or ``h w c``.

    Raises UserError for a mode that says nothing of white, or whose values leave it open.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":
        values = np.asarray(image)
        low, high = int(values.min(initial=0)), int(values.max(initial=0))
        if low < 0 or high > DEEPEST or 0 < high <= 255:
            raise UserError(
                f"an image of mode I is taken for 16 bits, and this one has values from {low} to {high}: "
                "convert it to mode I;16, L or F first"
            )
        return values.astype(np.uint16)
    if image.mode == "F":
        return np.asarray(image)
    if image.mode in SIMPLE:
        return np.asarray(image)
    if image.mode not in SIMPLER and image.mode not in OTHER_COLOURS:
        raise UserError(f"an image of mode {image.mode} is not read: convert it to RGB first")
    see_through = image.mode == "P" and "transparency" in image.info
    return np.asarray(image.convert("RGBA" if see_through else SIMPLER.get(image.mode, "RGB")))


def from_array(pixels: NDArray[Any], like: Image.Image) -> Image.Image:
    """The image of restored pixels, in the mode of the one they come from where that can hold them, with its info."""
    if like.mode == "I":
        pixels = pixels.astype(np.int32)
    elif like.mode == "I;16B":
        pixels = pixels.astype(">u2")
    image = Image.fromarray(pixels)
    changed = image.mode != like.mode
    left_out = ("transparency", *(("icc_profile",) if like.mode in OTHER_COLOURS else ())) if changed else ()
    info = cast("dict[Any, Any]", like.info)
    image.info = {name: value for name, value in info.items() if name not in left_out}
    return image
