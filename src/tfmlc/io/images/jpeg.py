"""Reading and writing of JPEG; all segments are kept, and what follows the image (gain map, depth, motion photo)."""

from __future__ import annotations

import hashlib
import io
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL import JpegImagePlugin

from tfmlc.errors import UserError
from tfmlc.io.images.exif import PREFIX as EXIF
from tfmlc.io.images.exif import resolution_of, within, without_prefix
from tfmlc.io.images.fitting import EXTENDED_XMP, MULTI
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.ifd import Tags
from tfmlc.io.images.image import Image, Part, Source
from tfmlc.io.images.modes import simplify, to_pillow
from tfmlc.io.images.photoshop import iptc_of, with_iptc
from tfmlc.io.images.upright import stored_again

QUALITY = 95
MOST_SEGMENT_BYTES, MARKER_BYTES, MOST_STRAY_BYTES = 65_533, 4, 4096
XMP, ICC, PHOTOSHOP, JFIF = b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0", b"JFIF\0"
SOI, EOI, SOS, COMMENT, APP0, APP1, APP2, APP13, APP14 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in coded data: no stuffed zero, no restart
MP_ENTRIES = 0xB002  # CIPA DC-007, 5.2.3
TRAILER = "trailer"
EXTENDED_STUB = (  # replaces a packet that is too long for one segment (XMP part 3, 1.1.3.1)
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
EXTENDED_DIGEST = re.compile(rb'HasExtendedXMP="([0-9A-F]{32})"')
EXTENDED_BYTES = 65_000  # bytes of the packet per segment


@dataclass(frozen=True)
class Segment:
    """A marker with its content; ``at`` is the position of the content."""

    marker: int
    data: bytes
    at: int


def head_of_jpeg(content: Content) -> Head:
    """Read the size and the metadata of a JPEG; raises UserError if it does not have 8 bits per channel."""
    segments, _ = head_segments(content)
    frame = next((segment.data for segment in segments if segment.marker in FRAMES), b"")
    if len(frame) < 6:
        raise ValueError("it ends before its image")
    if frame[0] != 8:
        raise UserError(f"is a JPEG of {frame[0]} bits per channel: save it as PNG or TIFF of 16 bits first")
    height, width = struct.unpack_from(">HH", frame, 1)
    if not height:
        raise UserError("is a JPEG without a height: open it in another program and save it again")
    return Head(width, height, frame[5], without_prefix(_first(segments, APP1, EXIF)), _xmp_of(segments)[0])


def read_jpeg(content: bytes) -> Image:
    """Read a JPEG as it is stored, with all segments; raises UserError if it does not have 8 bits per channel."""
    segments, stop = scan(content)
    head_of_jpeg(content)
    icc, notes = icc_of(segments)
    exif = without_prefix(_first(segments, APP1, EXIF))
    xmp, is_extension = _xmp_of(segments)
    photoshop = _joined(segments, APP13, PHOTOSHOP) or None
    simple = simplify(decode(content, segments, stop), icc)
    parts = [_part(segment) for segment in segments if _is_carried(segment, exif)]
    parts = [part for part in parts if not is_extension(part.data)]
    if stop < len(content):
        parts.append(Part("JPEG", TRAILER, content[stop:], stop))
    return Image(
        simple.pixels,
        icc=simple.icc,
        exif=exif,
        resolution=_density_of(segments) or resolution_of(exif),
        xmp=xmp,
        iptc=iptc_of(photoshop),
        photoshop=photoshop,
        parts=tuple(parts),
        source=Source("JPEG", is_lossless=False, size=(simple.pixels.shape[1], simple.pixels.shape[0])),
        notes=(*notes, *simple.notes),
    )


def write_jpeg(image: Image) -> tuple[bytes, list[str]]:
    """Return the content of a JPEG file, from 8 bits without alpha, and lines about what could not be kept."""
    lost: list[str] = []
    if has_second_image(image):
        image = stored_again(image)  # a gain map has the orientation of the stored image
    buffer = io.BytesIO()
    to_pillow(image.pixels).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    coded = buffer.getvalue()
    bare, _ = scan(coded)
    start = next(segment for segment in bare if not APP0 <= segment.marker <= 0xEF).at - MARKER_BYTES
    segments = [(APP0, _jfif(image.resolution)), *_metadata(image, lost)]
    head = bytes((0xFF, SOI)) + b"".join(_packed(marker, data) for marker, data in segments)
    content = head + coded[start:]
    for part in image.parts_of("JPEG"):
        if part.name == TRAILER:
            content = _repointed(content, image, part.at, len(content)) + part.data
    return content, lost


def has_second_image(image: Image) -> bool:
    """Whether the file has further images after the first one, such as gain maps and depth maps."""
    return any(part.data.startswith(MULTI) for part in image.parts_of("JPEG"))


def head_segments(content: Content) -> tuple[list[Segment], int]:
    """Return the segments before the coded data, and the position of the coded data."""
    segments: list[Segment] = []
    at = 2
    strayed = 0
    while at + MARKER_BYTES <= len(content) and strayed <= MOST_STRAY_BYTES:
        begins, marker, size = struct.unpack(">BBH", content[at : at + MARKER_BYTES])
        if begins != 0xFF or marker == 0xFF:
            at, strayed = at + 1, strayed + 1
        elif marker in (0x00, 0x01, SOI):
            at += 2
        elif marker == EOI:
            break
        else:
            segments.append(Segment(marker, bytes(content[at + 4 : at + 2 + size]), at + 4))
            at += 2 + max(size, 2)
            if marker == SOS:
                break
    return segments, at


def scan(content: bytes) -> tuple[list[Segment], int]:
    """Return all segments of a JPEG, and the position of its end."""
    segments, at = head_segments(content)
    while found := NEXT_MARKER.search(content, at):
        marker = content[found.end() - 1]
        at = found.end()
        if marker == EOI:
            return segments, at
        if marker in (0x01, SOI) or at + 2 > len(content):
            continue
        size = int.from_bytes(content[at : at + 2])
        segments.append(Segment(marker, content[at + 2 : at + size], at + 2))
        at += max(size, 2)
    return segments, len(content)


def decode(content: bytes, segments: Iterable[Segment], stop: int) -> Pillow.Image:
    """Decode the first image of a file without its metadata, which could make Pillow fail."""
    pieces: list[bytes] = []
    at = 0
    for segment in segments:
        if APP0 <= segment.marker <= 0xEF and segment.marker != APP14 and not segment.data.startswith(JFIF):
            pieces.append(content[at : segment.at - MARKER_BYTES])
            at = segment.at + len(segment.data)
        elif segment.marker == SOS:
            break
    pieces.append(content[at:stop])
    return JpegImagePlugin.JpegImageFile(io.BytesIO(b"".join(pieces)))


def icc_of(segments: Iterable[Segment]) -> tuple[bytes | None, list[str]]:
    """Join the colour profile from its numbered segments (ICC.1:2022, B.4)."""
    pieces = {part.data[12]: part.data for part in segments if part.marker == APP2 and part.data.startswith(ICC)}
    if not pieces:
        return None, []
    promised = max(piece[13] for piece in pieces.values() if len(piece) > 13)
    if sorted(pieces) != list(range(1, promised + 1)):
        return None, ["the colour profile was incomplete and is left out"]
    return b"".join(pieces[number][14:] for number in sorted(pieces)), []


def _xmp_of(segments: Iterable[Segment]) -> tuple[bytes | None, Callable[[bytes], bool]]:
    """Return the XMP packet, joined if ``write_jpeg`` split it, and a test for the segments that were joined."""
    xmp = _first(segments, APP1, XMP)
    found = None if xmp is None else EXTENDED_DIGEST.search(xmp)
    if xmp is None or found is None or xmp != EXTENDED_STUB % found[1]:
        return xmp, lambda _: False
    begins = EXTENDED_XMP + found[1]
    whole = b"".join(part.data[len(begins) + 8 :] for part in segments if part.data.startswith(begins))
    return whole, lambda data: data.startswith(begins)


def _is_carried(segment: Segment, exif: bytes | None) -> bool:
    """Whether a segment is copied: it is neither part of the coding nor stored in a field of ``Image``."""
    if segment.marker == COMMENT:
        return True
    if not APP0 < segment.marker <= 0xEF or segment.marker == APP14:
        return False
    if segment.marker == APP1 and segment.data.startswith(EXIF):
        return exif is not None and without_prefix(segment.data) != exif
    return not segment.data.startswith((XMP, ICC, PHOTOSHOP))


def _metadata(image: Image, lost: list[str]) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the content of each segment before the coded data."""
    if image.exif is not None:
        exif, dropped, changed = within(image.exif, MOST_SEGMENT_BYTES - len(EXIF))
        lost += [*(f"JPEG cannot store {name}" for name in dropped), *changed]
        if exif is not None:
            yield APP1, EXIF + exif
    if image.xmp is not None:
        yield from _xmp_segments(image.xmp)
    if image.icc is not None:
        size = MOST_SEGMENT_BYTES - len(ICC) - 2
        pieces = [image.icc[at : at + size] for at in range(0, len(image.icc), size)]
        if len(pieces) > 255:
            lost.append("JPEG cannot store a colour profile of more than 16 MB")
        else:
            for number, piece in enumerate(pieces, start=1):
                yield APP2, ICC + bytes((number, len(pieces))) + piece
    if (photoshop := with_iptc(image.photoshop, image.iptc)) is not None:
        size = MOST_SEGMENT_BYTES - len(PHOTOSHOP)
        for at in range(0, len(photoshop), size):
            yield APP13, PHOTOSHOP + photoshop[at : at + size]
    for part in image.parts_of("JPEG"):
        if part.name != TRAILER:
            yield int(part.name, 16), part.data


def _xmp_segments(xmp: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield one segment, or a stub and segments of extended XMP (XMP part 3, 1.1.3.1)."""
    if len(xmp) <= MOST_SEGMENT_BYTES - len(XMP):
        yield APP1, XMP + xmp
        return
    digest = hashlib.md5(xmp, usedforsecurity=False).hexdigest().upper().encode()
    yield APP1, XMP + EXTENDED_STUB % digest
    for at in range(0, len(xmp), EXTENDED_BYTES):
        yield APP1, EXTENDED_XMP + digest + struct.pack(">II", len(xmp), at) + xmp[at : at + EXTENDED_BYTES]


def _part(segment: Segment) -> Part:
    return Part("JPEG", f"{segment.marker:02X}", segment.data, segment.at)


def _first(segments: Iterable[Segment], marker: int, begins: bytes) -> bytes | None:
    found = (part.data for part in segments if part.marker == marker and part.data.startswith(begins))
    data = next(found, None)
    return None if data is None else data[len(begins) :]


def _joined(segments: Iterable[Segment], marker: int, begins: bytes) -> bytes:
    found = [part.data for part in segments if part.marker == marker and part.data.startswith(begins)]
    return b"".join(data[len(begins) :] for data in found)


def _packed(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _density_of(segments: Iterable[Segment]) -> tuple[float, float] | None:
    data = _first(segments, APP0, JFIF)
    if data is None or len(data) < 7:
        return None
    unit, across, down = struct.unpack_from(">BHH", data, 2)
    factor = {1: 1.0, 2: 2.54}.get(unit)
    return None if factor is None or not across or not down else (across * factor, down * factor)


def _jfif(resolution: tuple[float, float] | None) -> bytes:
    across, down = (1, 1) if resolution is None else (min(max(round(value), 1), 65_535) for value in resolution)
    return JFIF + struct.pack(">HBHHBB", 0x0101, 0 if resolution is None else 1, across, down, 0, 0)


def _repointed(content: bytes, image: Image, old_stop: int, new_stop: int) -> bytes:
    """Correct the offsets in the multi-image index (CIPA DC-007, 5.2.3.3)."""
    index = next((part for part in image.parts_of("JPEG") if part.data.startswith(MULTI)), None)
    where = content.find(b"" if index is None else index.data)
    if index is None or where < 0:
        return content
    changed = bytearray(index.data[len(MULTI) :])
    try:
        tags = Tags(changed)
    except ValueError:
        return content
    entry = tags.find(MP_ENTRIES)
    if entry is None:
        return content
    moved = (new_stop - where) - (old_stop - index.at)
    for number, at in enumerate(range(entry.where, entry.where + len(entry.data) - 15, 16)):
        size, offset = struct.unpack_from(tags.order + "II", changed, at + 4)
        if number == 0:
            size = new_stop
        place = offset + moved if offset else 0
        if not 0 <= place < 1 << 32:  # it was wrong before, as after an edit by a program that does not know the index
            place = offset
        struct.pack_into(tags.order + "II", changed, at + 4, size, place)
    start = where + len(MULTI)
    return content[:start] + changed + content[start + len(changed) :]
