"""Reading of JPEG XL with the packages imagecodecs and pylibjxl (extra ``jxl``); JPEG XL is never written."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.images.avif import widen
from tfmlc.io.images.exif import resolution_of
from tfmlc.io.images.formats import FOR_JXL
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Source


def head_of_jxl(content: Content) -> Head:
    """Read the size of a JPEG XL; the decoder itself makes the image upright."""
    about = _probed(bytes(content[:]))
    bytes_per_px = about["channels"] * (1 if about["bits_per_sample"] <= 8 else 2)
    return Head(about["width"], about["height"], 2 * bytes_per_px, orientation=1)


def read_jxl(content: bytes) -> Image:
    """Read an upright JPEG XL; 9 to 15 bits are scaled to 16.

    Raises UserError for animations, floats, and if the extra is not installed.
    """
    about = _probed(content)
    bits = int(about["bits_per_sample"])
    if about["have_animation"]:
        raise UserError("is an animation: save the frame you want as a separate file")
    if about["exponent_bits_per_sample"] or bits > 16:
        raise UserError("is a JPEG XL of floats or more than 16 bits: save it as TIFF first")
    import pylibjxl

    metadata: dict[str, bytes] = pylibjxl.decode(content, metadata=True)[1]
    pixels = imagecodecs.jpegxl_decode(content)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] > 4:
        raise UserError("is a JPEG XL with other channels than grey, RGB and alpha: save it as TIFF first")
    if pixels.dtype == np.uint16 and bits < 16:
        pixels = widen(pixels, bits)
    exif = metadata.get("exif") or None
    return Image(
        pixels,
        icc=metadata.get("icc") or None,
        exif=exif,
        resolution=resolution_of(exif),
        xmp=metadata.get("xmp") or None,
        source=Source("JPEG XL", is_lossless=False, size=(pixels.shape[1], pixels.shape[0]), bits=bits),
    )


def _probed(content: bytes) -> dict[str, Any]:
    """Return what the header says."""
    try:
        import pylibjxl
    except ImportError as error:
        raise UserError(f"is a JPEG XL image: {FOR_JXL}") from error
    return pylibjxl.probe(content)
