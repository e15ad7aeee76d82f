"""XMP behind the pixels of a BMP file, where readers do not look; the file's size in its head covers it."""

from __future__ import annotations

import struct
from typing import BinaryIO

FOOTER = b"tfmlcXMP"  # after the packet: this, and the packet's length


def with_xmp(content: bytes, xmp: bytes) -> bytes:
    """A BMP file's content with an XMP packet behind it."""
    longer = content + xmp + FOOTER + struct.pack("<I", len(xmp))
    return longer[:2] + struct.pack("<I", len(longer) & 0xFFFFFFFF) + longer[6:]


def read_xmp(file: BinaryIO) -> bytes | None:
    """The XMP packet behind a BMP file, or None.

    >>> import io
    >>> read_xmp(io.BytesIO(with_xmp(b"BM    and so on", b"<xmp/>")))
    b'<xmp/>'
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - len(FOOTER) - 4))
    footer = file.read()
    length = int.from_bytes(footer[len(FOOTER) :], "little")
    if not footer.startswith(FOOTER) or length > end - len(footer):
        return None
    file.seek(end - len(footer) - length)
    return file.read(length)
