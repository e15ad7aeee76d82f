"""Reading of HEIC with the package pi-heif (extra ``heic``); HEIC is never written."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.images.avif import SRGB, widen
from tfmlc.io.images.boxes import Items
from tfmlc.io.images.exif import resolution_of
from tfmlc.io.images.formats import FOR_HEIC
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Source

GAIN_MAP, DEPTH, ALPHA = b"hdrgainmap", b"auxid:2", (b"auxid:1", b":alpha")


def head_of_heic(content: Content) -> Head:
    """Read the size and the metadata of a HEIC; the decoder itself makes the image upright."""
    items = Items(bytes(content[:]))
    size = items.property(b"ispe")
    if size is None or len(size) < 12:
        raise ValueError("its size is missing")
    width, height = struct.unpack_from(">II", size, 4)
    turn = items.property(b"irot")
    if turn and turn[0] & 1:
        width, height = height, width
    return Head(width, height, 8, items.exif(), items.xmp(), orientation=1)


def read_heic(content: bytes) -> Image:
    """Read an upright HEIC; 10 and 12 bits are scaled to 16. Raises UserError if the extra is not installed."""
    try:
        import pi_heif
    except ImportError as error:
        raise UserError(f"is a HEIC photo: {FOR_HEIC}") from error
    head = head_of_heic(content)
    items = Items(content)
    file: Any = pi_heif.open_heif(io.BytesIO(items.without_metadata()), convert_hdr_to_8bit=False)
    info: dict[str, Any] = file.info
    pixels = np.array(file)  # a copy, because the decoder frees its memory with the file
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    bits = int(info.get("bit_depth", 8))
    if pixels.dtype == np.uint16:
        pixels = widen(pixels >> np.uint16(16 - bits), bits)
    cicp = items.cicp()
    left_out = _left_out(items, len(file))
    return Image(
        pixels,
        icc=items.icc(),
        exif=head.exif,
        resolution=resolution_of(head.exif),
        xmp=head.xmp,
        cicp=None if cicp is None or cicp[:2] in SRGB else cicp,
        source=Source("HEIC", is_lossless=False, size=(pixels.shape[1], pixels.shape[0]), bits=bits),
        notes=left_out,
        left_out=left_out,
    )


def _left_out(items: Items, images: int) -> tuple[str, ...]:
    """Return lines about what a HEIC holds in addition to the image."""
    left_out: list[str] = []
    if any(GAIN_MAP in kind for kind in items.auxiliary) or b"tmap" in items.types.values():
        left_out.append("the gain map is left out")
    if any(kind.endswith(DEPTH) for kind in items.auxiliary):
        left_out.append("the depth map is left out")
    if images > 1:
        left_out.append(f"{images - 1} further images are left out")
    return (*left_out, *items.others("HEIC"))
