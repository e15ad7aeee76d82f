"""Photoshop's image resources (Adobe Photoshop File Formats), which contain IPTC in JPEG and TIFF."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image as Pillow

SIGNATURES = (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR")
IPTC, THUMBNAIL, OLD_THUMBNAIL = 0x0404, 0x040C, 0x0409
JPEG_RGB, THUMBNAIL_HEAD = 1, ">IIIIIIHH"


@dataclass(frozen=True)
class Resource:
    """One image resource; ``raw`` is the whole resource with header and padding."""

    number: int
    data: bytes
    raw: bytes


def resources(block: bytes) -> tuple[list[Resource], bytes]:
    """Return the resources of a block, and the bytes after them."""
    found: list[Resource] = []
    at = 0
    while block[at : at + 4] in SIGNATURES and at + 7 <= len(block):
        name = block[at + 6] + 1
        start = at + 6 + name + name % 2 + 4
        if start > len(block):
            break
        size = int.from_bytes(block[start - 4 : start])
        if start + size > len(block):
            break
        stop = min(start + size + size % 2, len(block))
        number = int.from_bytes(block[at + 4 : at + 6])
        found.append(Resource(number, block[start : start + size], block[at:stop]))
        at = stop
    return found, block[at:]


def iptc_of(block: bytes | None) -> bytes | None:
    """Return the IPTC records in a block of resources, or None."""
    if block is None:
        return None
    return next((part.data for part in resources(block)[0] if part.number == IPTC and part.data), None)


def with_iptc(block: bytes | None, iptc: bytes | None) -> bytes | None:
    """Add IPTC records to a block, unless it has some or there are none."""
    if iptc is None or iptc_of(block) is not None:
        return block
    return _packed(IPTC, iptc) + (block or b"")


def with_thumbnail(block: bytes, make: Callable[[], bytes | None]) -> bytes:
    """Replace the thumbnail in a block, if it has one, by a new JPEG; every other byte is kept."""
    found, rest = resources(block)
    if not any(part.number in (THUMBNAIL, OLD_THUMBNAIL) for part in found):
        return block
    jpeg = make()
    new = b"" if jpeg is None else _packed(THUMBNAIL, _thumbnail_head(jpeg) + jpeg)
    return b"".join(new if part.number in (THUMBNAIL, OLD_THUMBNAIL) else part.raw for part in found) + rest


def _thumbnail_head(jpeg: bytes) -> bytes:
    width, height = Pillow.open(io.BytesIO(jpeg)).size
    row = -(-width * 24 // 32) * 4
    return struct.pack(THUMBNAIL_HEAD, JPEG_RGB, width, height, row, row * height, len(jpeg), 24, 1)


def _packed(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)
