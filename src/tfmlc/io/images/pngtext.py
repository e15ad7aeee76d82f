"""Text and profiles in PNG chunks: plain, compressed, or in ImageMagick's hexadecimal form."""

from __future__ import annotations

import re
import zlib

from tfmlc.io.images.exif import PREFIX as EXIF

TEXTS = ("tEXt", "zTXt", "iTXt")
XMP_KEYWORD = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
MOST_BYTES = 1 << 26  # once unpacked
WIDTH = 72  # characters a line of a raw profile


def unpacked(deflated: bytes) -> bytes | None:
    """Decompress data; None if it is damaged or too large for a profile or text."""
    try:
        machine = zlib.decompressobj()
        data = machine.decompress(deflated, MOST_BYTES)
    except zlib.error:
        return None
    return data if machine.eof else None


def text_of(name: str, data: bytes) -> tuple[bytes, bytes | None]:
    """Return the keyword and the text of a text chunk; None as the text if it is damaged."""
    keyword, _, rest = data.partition(b"\0")
    if name == "tEXt":
        return keyword, rest
    if name == "zTXt":
        return keyword, unpacked(rest[1:])
    packed = rest[:1] == b"\1"
    text = rest[2:].split(b"\0", 2)[-1]
    return keyword, unpacked(text) if packed else text


def profile_of(keyword: bytes, text: bytes | None) -> tuple[str, bytes] | None:
    """Return the kind of metadata in a text (``exif``, ``xmp`` or ``iptc``) and its bytes; None for other texts."""
    if text is None:
        return None
    if keyword == XMP_KEYWORD:
        return "xmp", text
    if not keyword.startswith(RAW_PROFILE):
        return None
    kind = keyword.removeprefix(RAW_PROFILE).decode("latin-1").lower()
    found = re.match(rb"\s*+([^\n]*+)\n\s*+(\d++)\s++([0-9a-fA-F\s]*+)$", text)
    try:
        data = b"" if found is None else bytes.fromhex(found[3].decode())
    except ValueError:
        return None
    if found is None or len(data) != int(found[2]):
        return None
    if kind == "app1":
        kind = "exif" if data.startswith(EXIF) else "xmp"
    return {"8bim": "iptc"}.get(kind, kind), data


def raw_profile(kind: str, data: bytes) -> bytes:
    """Return the content of a zTXt chunk with metadata in ImageMagick's form, which ExifTool and exiv2 also read.

    >>> profile_of(*text_of("zTXt", raw_profile("iptc", b"8BIM")))
    ('iptc', b'8BIM')
    """
    written = data.hex()
    lines = "\n".join(written[at : at + WIDTH] for at in range(0, len(written), WIDTH))
    return RAW_PROFILE + kind.encode() + b"\0\0" + zlib.compress(f"\n{kind}\n{len(data):8d}\n{lines}\n".encode())


def xmp_text(xmp: bytes) -> bytes:
    """Return the content of an iTXt chunk with an XMP packet (XMP part 3, 1.1.5)."""
    return XMP_KEYWORD + bytes(5) + xmp


def icc_profile(icc: bytes) -> bytes:
    """Return the content of an iCCP chunk."""
    return b"ICC profile\0\0" + zlib.compress(icc)
