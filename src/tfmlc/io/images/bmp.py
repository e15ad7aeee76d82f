"""Reading and writing of BMP; an XMP packet is stored after the pixels, where other readers ignore it."""

from __future__ import annotations

import io
import struct

from PIL import BmpImagePlugin

from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Source
from tfmlc.io.images.modes import simplify, to_pillow

CORE, FIFTH = 12, 124  # bytes of the first and of the last header
EMBEDDED = b"DEBM"
INCH_M = 0.0254
FOOTER = b"tfmlcXMP"  # follows the packet, before the packet's length


def head_of_bmp(content: Content) -> Head:
    """Read the size of a BMP."""
    head = bytes(content[14:30])
    if int.from_bytes(head[:4], "little") == CORE:
        width, height = struct.unpack_from("<HH", head, 4)
    else:
        width, height = struct.unpack_from("<ii", head, 4)
    return Head(abs(width), abs(height), 4, xmp=xmp_behind(content))


def read_bmp(content: bytes) -> Image:
    """Read a BMP."""
    head = head_of_bmp(content)
    icc, resolution = None, None
    size = int.from_bytes(content[14:18], "little")
    if size >= 40:
        across, down = struct.unpack_from("<ii", content, 38)
        resolution = (across * INCH_M, down * INCH_M) if across > 0 and down > 0 else None
    if size >= FIFTH and content[70:74] == EMBEDDED:
        at, length = struct.unpack_from("<II", content, 126)
        icc = content[14 + at : 14 + at + length] or None
    simple = simplify(BmpImagePlugin.BmpImageFile(io.BytesIO(content)), icc)
    source = Source("BMP", is_lossless=True, size=(head.width, head.height))
    return Image(simple.pixels, icc=simple.icc, resolution=resolution, xmp=head.xmp, source=source)


def write_bmp(image: Image) -> tuple[bytes, list[str]]:
    """Return the content of a BMP file, from 8 bits without alpha."""
    buffer = io.BytesIO()
    given = {} if image.resolution is None else {"dpi": image.resolution}
    to_pillow(image.pixels).save(buffer, "BMP", **given)
    content = buffer.getvalue()
    return content if image.xmp is None else with_xmp(content, image.xmp), []


def with_xmp(content: bytes, xmp: bytes) -> bytes:
    """Append an XMP packet to the content of a BMP file and include it in the file size of the header."""
    longer = content + xmp + FOOTER + struct.pack("<I", len(xmp))
    return longer[:2] + struct.pack("<I", len(longer) & 0xFFFFFFFF) + longer[6:]


def xmp_behind(content: Content) -> bytes | None:
    """Return the XMP packet at the end of a BMP file, or None.

    >>> xmp_behind(with_xmp(b"BM    and so on", b"<xmp/>"))
    b'<xmp/>'
    """
    end = len(content) - len(FOOTER) - 4
    footer = bytes(content[max(0, end) :])
    length = int.from_bytes(footer[len(FOOTER) :], "little")
    return bytes(content[end - length : end]) if footer.startswith(FOOTER) and length <= end else None
