"""Metadata blocks of known content, built byte by byte."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8, 12: 8}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
MADE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ICC = MADE[:24] + bytes(12) + MADE[36:]  # without the time at which it was made
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:own="urn:own" xmp:Rating="5" own:note="Grüße &amp; mehr"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
IPTC = b"\x1c\x01\x5a\x00\x03\x1b%G" + b"\x1c\x02\x5a\x00\x08" + "München".encode() + b"\x1c\x02\x19\x00\x03one"
RESOURCES = (
    *(b"8BIM\x04\x04\0\0", struct.pack(">I", len(IPTC)), IPTC, bytes(len(IPTC) % 2)),
    *(b"8BIM\x04\x0b\0\0", struct.pack(">I", 12), b"https://own/"),
)
PHOTOSHOP = b"".join(RESOURCES)
MAKER_NOTE = b"OWN\0" + bytes(range(60))
ODD_ENTRY = struct.pack(">HHI4s", 0xFDEA, 99, 2, b"\1\2\3\4")  # of a type that there is not
DPI = (300, 150)
ARTIST, TAKEN = "Jürgen Müller".encode() + b"\0", b"2024:05:06 07:08:09\0"


@dataclass(frozen=True)
class Tag:
    """A tag's number, type and values, or the tags of the directory that it points to."""

    number: int
    kind: int
    data: bytes = b""
    inside: tuple[Tag, ...] = ()


def directory(tags: list[Tag], at: int, order: str = ">", following: int = 0) -> bytes:
    """A tag directory that begins at an offset, with everything that it points to behind it."""
    head = struct.pack(order + "H", len(tags))
    body = b""
    end = at + 2 + 12 * len(tags) + 4
    for tag in sorted(tags, key=lambda tag: tag.number):
        where = end + len(body)
        if tag.inside:
            head += struct.pack(order + "HHII", tag.number, LONG, 1, where)
            body += directory(list(tag.inside), where, order)
        elif tag.kind not in SIZES:
            head += struct.pack(order + "HHI", tag.number, tag.kind, 2) + tag.data
        else:
            head += struct.pack(order + "HHI", tag.number, tag.kind, len(tag.data) // SIZES[tag.kind])
            head += tag.data.ljust(4, b"\0") if len(tag.data) <= 4 else struct.pack(order + "I", where)
            body += b"" if len(tag.data) <= 4 else tag.data
        body += bytes(len(body) % 2)
    return head + struct.pack(order + "I", following) + body


def photo_tags(width: int, height: int, order: str = ">", *, orientation: int = 1) -> list[Tag]:
    """What a camera writes, text in UTF-8, and an entry of a type that there is not."""

    def numbers(letter: str, *values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}{letter}", *values)

    interop = (Tag(1, ASCII, b"R98\0"), Tag(2, UNDEFINED, b"0100"))
    taken = (
        *(Tag(0x829A, RATIONAL, numbers("I", 1, 50)), Tag(0x9003, ASCII, TAKEN), Tag(0x927C, UNDEFINED, MAKER_NOTE)),
        *(Tag(0x9286, UNDEFINED, b"UNICODE\0" + "Käse".encode("utf-16-be")), Tag(0xA002, LONG, numbers("I", width))),
        *(Tag(0xA003, LONG, numbers("I", height)), Tag(INTEROP, LONG, inside=interop)),
    )
    place = (
        *(Tag(0, BYTE, b"\2\3\0\0"), Tag(1, ASCII, b"N\0"), Tag(2, RATIONAL, numbers("I", 48, 1, 8, 1, 30, 1))),
        *(Tag(3, ASCII, b"E\0"), Tag(4, RATIONAL, numbers("I", 11, 1, 34, 1, 0, 1))),
    )
    return [
        *(Tag(0x010F, ASCII, b"Own Cameras\0"), Tag(0x0112, SHORT, numbers("H", orientation))),
        *(Tag(0x011A, RATIONAL, numbers("I", DPI[0], 1)), Tag(0x011B, RATIONAL, numbers("I", DPI[1], 1))),
        *(Tag(0x0128, SHORT, numbers("H", 2)), Tag(0x013B, ASCII, ARTIST), Tag(0xFDEA, 99, b"\1\2\3\4")),
        *(Tag(EXIF, LONG, inside=taken), Tag(GPS, LONG, inside=place)),
    ]


def exif_block(pixels: np.ndarray, *, orientation: int = 1) -> bytes:
    """An EXIF block in big-endian order with a thumbnail."""
    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0])).resize((160, 120)).convert("RGB").save(buffer, "JPEG")
    small = buffer.getvalue()
    tags = photo_tags(width, height, orientation=orientation)
    head = b"MM\0*\0\0\0\x08"
    second = len(head) + len(directory(tags, len(head)))

    def thumbnail_tags(at: int) -> list[Tag]:
        place, size = struct.pack(">I", at), struct.pack(">I", len(small))
        return [Tag(0x0103, SHORT, b"\0\6"), Tag(0x0201, LONG, place), Tag(0x0202, LONG, size)]

    at = second + len(directory(thumbnail_tags(0), second))
    return head + directory(tags, len(head), following=second) + directory(thumbnail_tags(at), second) + small
