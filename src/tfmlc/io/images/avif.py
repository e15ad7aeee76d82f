"""Reading and writing of AVIF with 8, 10 and 12 bits; lossless files stay lossless."""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image as Pillow

from tfmlc.errors import UserError
from tfmlc.io.images.boxes import Items, boxes
from tfmlc.io.images.exif import UNREADABLE, is_readable, resolution_of, with_resolution
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Pixels, Source
from tfmlc.io.images.modes import to_pillow

QUALITY, DEEP_QUALITY, LOSSLESS, SPEED = 90, 95, 100, 6
DEEPEST = 12
IDENTITY = 0  # matrix coefficients in ITU-T H.273: RGB without conversion
ORIENTATIONS: dict[
    tuple[int, int | None], int
] = {  # EXIF orientations, by the quarter turns to the left and the axis of the mirror that follows
    (0, None): 1,
    (0, 1): 2,
    (2, None): 3,
    (0, 0): 4,
    (1, 0): 5,
    (3, None): 6,
    (3, 0): 7,
    (1, None): 8,
    (1, 1): 7,
    (2, 0): 2,
    (2, 1): 4,
    (3, 1): 5,
}
SRGB = ((1, 13), (2, 2), (1, 2), (2, 13))  # primaries and transfer that mean sRGB, also if unspecified


class _AsItIs(Pillow.Exif):
    """An EXIF block that Pillow writes without parsing it."""

    def __init__(self, block: bytes) -> None:
        super().__init__()
        self._block = block

    def __bool__(self) -> bool:
        return True

    def tobytes(self, offset: int = 8) -> bytes:
        del offset
        return self._block


def head_of_avif(content: Content) -> Head:
    """Read the size and the metadata of an AVIF; raises UserError for a sequence of images."""
    whole = content[:]
    if any(box.kind == b"moov" for box in boxes(bytes(whole))):
        raise UserError("holds several images: save the one you want as a separate file")
    items = Items(bytes(whole))
    size = items.property(b"ispe")
    if size is None or len(size) < 12:
        raise ValueError("its size is missing")
    width, height = struct.unpack_from(">II", size, 4)
    return Head(width, height, 4 * (2 if _bits(items) > 8 else 1), items.exif(), items.xmp(), orientation_of(items))


def read_avif(content: bytes) -> Image:
    """Read an AVIF as it is stored; 10 and 12 bits are scaled to 16. Raises UserError for a sequence of images."""
    head = head_of_avif(content)
    items = Items(content)
    bits = _bits(items)
    pixels = imagecodecs.avif_decode(content)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if bits > 8:
        pixels = widen(pixels, bits)
    cicp = items.cicp()
    gain_map = ("the gain map is left out",) if b"tmap" in items.types.values() else ()
    left_out = (*gain_map, *items.others("AVIF"))
    return Image(
        pixels,
        icc=items.icc(),
        exif=head.exif,
        resolution=resolution_of(head.exif),
        xmp=head.xmp,
        cicp=None if cicp is None or cicp[:2] in SRGB else cicp,
        source=Source("AVIF", is_lossless=_may_be_lossless(items), size=(head.width, head.height), bits=bits),
        notes=left_out,
        left_out=left_out,
    )


def write_avif(image: Image) -> tuple[bytes, list[str]]:
    """Return the content of an AVIF file with 8, 10 or 12 bits; lossless if the source was."""
    lossless = image.source is not None and image.source.is_lossless
    lost: list[str] = []
    exif = image.exif
    if exif is not None and not is_readable(exif):
        exif, lost = None, [UNREADABLE]
    if image.resolution is not None:
        exif = with_resolution(exif, image.resolution)
    deep = image.pixels.dtype != np.uint8
    if deep or lossless:
        bits = depth_of(image)
        if deep and (image.source is None or image.source.bits > bits):
            lost.append(f"AVIF has {bits} bits per channel")
        content = _encode(image, exif, bits, LOSSLESS if lossless or image.source is None else DEEP_QUALITY)
    else:
        options: dict[str, Any] = {"icc_profile": image.icc, "xmp": image.xmp}
        options["exif"] = None if exif is None else _AsItIs(exif)
        given = {name: value for name, value in options.items() if value is not None}
        buffer = io.BytesIO()
        sampling = "4:0:0" if image.pixels.shape[2] == 1 else "4:4:4"
        to_pillow(image.pixels).save(buffer, "AVIF", quality=QUALITY, subsampling=sampling, speed=SPEED, **given)
        content = buffer.getvalue()
    return content if image.cicp is None else _with_cicp(content, image.cicp), lost


def depth_of(image: Image) -> int:
    """Return the bits per channel with which an image is written."""
    if image.pixels.dtype == np.uint8:
        return 8
    return min(image.source.bits, DEEPEST) if image.source is not None and image.source.bits > 8 else DEEPEST


def orientation_of(items: Items) -> int:
    """Return the EXIF orientation for the rotation and the mirror of the container (ISO/IEC 23008-12, 6.5.10)."""
    turn, mirror = items.property(b"irot"), items.property(b"imir")
    return ORIENTATIONS[(turn[0] & 3) if turn else 0, (mirror[0] & 1) if mirror else None]


def widen(pixels: Pixels, bits: int) -> Pixels:
    """Scale values of 9 to 15 bits to 16 bits; white stays white."""
    wide = pixels.astype(np.uint16, copy=False)
    return (wide << np.uint16(16 - bits)) | (wide >> np.uint16(2 * bits - 16))


def narrow(pixels: Pixels, bits: int) -> Pixels:
    """Scale values of 16 bits to 9 to 15 bits, with rounding; this reverses ``widen`` exactly.

    >>> ten = np.arange(1024, dtype=np.uint16)
    >>> bool((narrow(widen(ten, 10), 10) == ten).all())
    True
    """
    return ((pixels.astype(np.uint32) * ((1 << bits) - 1) + 32767) // 65535).astype(np.uint16)


def _encode(image: Image, exif: bytes | None, bits: int, quality: int) -> bytes:
    """Encode with OpenCV, which supports more than 8 bits and lossless compression."""
    pixels = image.pixels if bits == 8 else narrow(image.pixels, bits)
    channels = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    blocks = {
        cv2.IMAGE_METADATA_EXIF: exif,
        cv2.IMAGE_METADATA_XMP: image.xmp,
        cv2.IMAGE_METADATA_ICCP: image.icc,
    }
    given = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    settings = [cv2.IMWRITE_AVIF_QUALITY, quality, cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_SPEED, SPEED]
    stored = np.ascontiguousarray(pixels[..., channels])
    done, coded = cv2.imencodeWithMetadata(".avif", stored, list(given), list(given.values()), settings)
    if not done:
        raise ValueError("the AVIF encoder failed")
    return coded.tobytes()


def _bits(items: Items) -> int:
    config = items.property(b"av1C")  # AV1 in ISOBMFF, 2.3.3
    if config is None or len(config) < 3:
        return 8
    return 12 if config[2] & 0x20 and config[2] & 0x40 else 10 if config[2] & 0x40 else 8


def _may_be_lossless(items: Items) -> bool:
    """Whether the file can be lossless: RGB is stored without conversion, or the image is grey."""
    config, cicp = items.property(b"av1C") or b"", items.cicp()
    return (cicp is not None and cicp[2] == IDENTITY) or bool(config[2:3] and config[2] & 0x10)


def _with_cicp(content: bytes, cicp: tuple[int, int, int, int]) -> bytes:
    """Set the primaries and the transfer of a file; matrix and range stay as the encoder stored the colours."""
    items = Items(content)
    place = next((box for box in items.properties if content.startswith(b"nclx", box.start)), None)
    if place is None:
        return content
    return content[: place.start + 4] + struct.pack(">HH", *cicp[:2]) + content[place.start + 8 :]
