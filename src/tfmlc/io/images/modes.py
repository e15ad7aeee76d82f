"""Conversion of Pillow images of all modes to arrays of grey or RGB, with or without alpha."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from tfmlc.io.images.image import Pixels

BAND_PX = 1 << 22
SIMPLE = ("L", "LA", "RGB", "RGBA")
WITH_ALPHA = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


@dataclass(frozen=True)
class Simple:
    """The result of ``simplify``.

    Attributes:
        pixels: The pixels, ``h w c``.
        icc: The colour profile, if it still fits.
        notes: What was changed in addition to the layout.
    """

    pixels: Pixels
    icc: bytes | None
    notes: tuple[str, ...] = ()


def simplify(image: Pillow.Image, icc: bytes | None) -> Simple:
    """Convert an image of any mode with up to 8 bits to grey, grey and alpha, RGB or RGBA.

    Palettes become colours. CMYK becomes sRGB with the help of its profile.
    """
    if image.mode == "CMYK":
        converted = _from_cmyk(image, icc)
        return Simple(to_array(converted), None, ("CMYK became sRGB",))
    if image.mode not in SIMPLE:
        see_through = "transparency" in image.info and image.mode == "P"
        grey = image.mode == "1"
        mode = "L" if grey else WITH_ALPHA.get(image.mode, "RGBA" if see_through else "RGB")
        image = image.convert(mode)
    return Simple(to_array(image), icc)


def to_array(image: Pillow.Image) -> Pixels:
    """Copy the pixels of an image of a simple mode, in bands."""
    width, height = image.size
    pixels = np.empty((height, width, len(image.getbands())), np.uint8)
    rows = max(1, BAND_PX // width)
    for row in range(0, height, rows):
        band = image.crop((0, row, width, min(row + rows, height)))
        pixels[row : row + rows] = np.asarray(band).reshape(-1, width, pixels.shape[2])
    return pixels


def to_pillow(pixels: Pixels) -> Pillow.Image:
    """Return a Pillow image of uint8 pixels ``h w c``."""
    return Pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _from_cmyk(image: Pillow.Image, icc: bytes | None) -> Pillow.Image:
    if icc is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            target = cast(Any, ImageCms).createProfile("sRGB")
            if (converted := ImageCms.profileToProfile(image, source, target, outputMode="RGB")) is not None:
                return converted
        except ImageCms.PyCMSError:
            pass
    return image.convert("RGB")
