"""Reading and writing of WebP; lossless files stay lossless, and colours of transparent pixels are kept."""

from __future__ import annotations

import io
import struct
from typing import Any

from PIL import WebPImagePlugin

from tfmlc.errors import UserError
from tfmlc.io.images.exif import resolution_of, with_resolution, without_prefix
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Part, Source, left_behind
from tfmlc.io.images.modes import simplify, to_pillow

QUALITY, LOSSLESS_EFFORT = 95, 50
CODING = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
FRAME_HEAD_BYTES = 16  # of an ANMF chunk


def chunks_of(content: Content, at: int = 12, stop: int | None = None) -> list[tuple[bytes, int, int]]:
    """Return the type, position and size of the chunks of a RIFF file that are complete."""
    found: list[tuple[bytes, int, int]] = []
    stop = len(content) if stop is None else stop
    while at + 8 <= stop:
        name, size = struct.unpack("<4sI", content[at : at + 8])
        if at + 8 + size > stop or not name.isascii() or not name.decode().isprintable():
            break
        found.append((name, at + 8, size))
        at += 8 + size + size % 2
    return found


def head_of_webp(content: Content) -> Head:
    """Read the size and the metadata of a WebP; raises UserError for an animation."""
    chunks = chunks_of(content)
    if (frames := sum(name == b"ANMF" for name, _, _ in chunks)) > 1:
        raise UserError(f"holds {frames} images: save the one you want as a separate file")
    named = {name: bytes(content[at : at + size]) for name, at, size in reversed(chunks) if not name.startswith(b"VP8")}
    for name, at, _ in chunks:
        head = content[at : at + 10]
        if name == b"VP8X":
            width, height = (int.from_bytes(head[start : start + 3], "little") + 1 for start in (4, 7))
        elif name == b"VP8L":
            packed = int.from_bytes(head[1:5], "little")
            width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        elif name == b"VP8 ":
            width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", head, 6))
        else:
            continue
        return Head(width, height, 4, without_prefix(named.get(b"EXIF")), named.get(b"XMP "))
    raise ValueError("it ends before its image")


def read_webp(content: bytes) -> Image:
    """Read a WebP as it is stored; raises UserError for an animation."""
    head = head_of_webp(content)
    chunks = chunks_of(content)
    named = {name: content[at : at + size] for name, at, size in reversed(chunks)}
    inner = chunks_of(named[b"ANMF"], FRAME_HEAD_BYTES) if b"ANMF" in named else []
    icc = named.get(b"ICCP")
    simple = simplify(WebPImagePlugin.WebPImageFile(io.BytesIO(content)), icc)
    stop = max((at + size + size % 2 for _, at, size in chunks), default=len(content))
    left_out = left_behind(content, stop, "WebP")
    others = [(name.decode("latin-1"), at, size) for name, at, size in chunks if name not in CODING]
    return Image(
        simple.pixels,
        icc=icc,
        exif=head.exif,
        resolution=resolution_of(head.exif),
        xmp=head.xmp,
        parts=tuple(Part("WEBP", name, content[at : at + size], at) for name, at, size in others),
        source=Source(
            "WEBP",
            is_lossless=any(name == b"VP8L" for name, _, _ in [*chunks, *inner]),
            size=(head.width, head.height),
        ),
        notes=left_out,
        left_out=left_out,
    )


def write_webp(image: Image) -> tuple[bytes, list[str]]:
    """Return the content of a WebP file with 8 bits; lossless if the source was."""
    lossless = image.source is not None and image.source.is_lossless
    exif = image.exif
    if image.resolution is not None:
        exif = with_resolution(exif, image.resolution)
    options: dict[str, Any] = {"icc_profile": image.icc, "exif": exif, "xmp": image.xmp}
    buffer = io.BytesIO()
    to_pillow(image.pixels).save(
        buffer,
        "WEBP",
        lossless=lossless,
        quality=LOSSLESS_EFFORT if lossless else QUALITY,
        exact=True,
        **{name: value for name, value in options.items() if value is not None},
    )
    content = buffer.getvalue()
    for part in image.parts_of("WEBP"):
        content += part.name.encode("latin-1") + struct.pack("<I", len(part.data)) + part.data
        content += bytes(len(part.data) % 2)
    return content[:4] + struct.pack("<I", len(content) - 8) + content[8:], []
