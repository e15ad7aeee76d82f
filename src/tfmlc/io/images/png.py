"""Reading and writing of PNG with its chunks; the decoders get the pixels only."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import imagecodecs
import numpy as np
from isal import isal_zlib
from PIL import PngImagePlugin

from tfmlc.errors import UserError
from tfmlc.io.images.exif import resolution_of, without_prefix
from tfmlc.io.images.head import Content, Head
from tfmlc.io.images.image import Image, Part, Pixels, Source, left_behind, white_of
from tfmlc.io.images.modes import simplify
from tfmlc.io.images.photoshop import iptc_of, with_iptc
from tfmlc.io.images.pngtext import TEXTS, icc_profile, profile_of, raw_profile, text_of, unpacked, xmp_text

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels; PNG third edition, table 9
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
GREY, RGB, PALETTE = 0, 2, 3
RGB_MATRIX = 0
CODING = ("IHDR", "PLTE", "tRNS", "IDAT", "IEND", "iDOT", "acTL", "fcTL", "fdAT")
CARRIED = (  # copied though the pixels change, like chunks that are marked as safe to copy
    *("gAMA", "cHRM", "sRGB", "mDCV", "mDCv", "cLLI", "cLLi", "sBIT", "bKGD", "sPLT", "tIME", "oFFs", "sCAL", "pCAL"),
    *("sTER", "iCCP", "pHYs"),
)
FORM = {  # sizes, by channels, of chunks whose form depends on the colour type
    "bKGD": {1: 2, 2: 2, 3: 6, 4: 6},
    "sBIT": {1: 1, 2: 2, 3: 3, 4: 4},
}
ISAL_LEVEL, ZLIB_LEVEL, SPARE_BYTES = 2, 6, 4096
MOST_RATIO = 1032  # highest compression ratio of deflate
INCH_M = 0.0254


@dataclass(frozen=True)
class Chunk:
    """A chunk: its type, and the position and size of its data."""

    name: str
    at: int
    size: int


def scan(content: Content) -> tuple[list[Chunk], int]:
    """Return the chunks of a PNG that are complete, and the position of its end."""
    chunks: list[Chunk] = []
    at = len(SIGNATURE)
    while at + 12 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        if at + 12 + size > len(content) or not name.isalpha():
            break
        chunks.append(Chunk(name.decode("latin-1"), at + 8, size))
        at += 12 + size
        if name == b"IEND":
            break
    return chunks, at


def head_of_png(content: Content) -> Head:
    """Read the size and the metadata of a PNG.

    Raises UserError for an animation, Apple's variant of PNG, and a size that is impossible for the data.
    """
    chunks, _ = scan(content)
    names = {chunk.name: chunk for chunk in reversed(chunks)}
    if "CgBI" in names:
        raise UserError("is a PNG in Apple's format for apps (CgBI): convert it with pngcrush first")
    if not chunks or chunks[0].name != "IHDR" or chunks[0].size != 13:
        raise ValueError("its first chunk is not a PNG header")
    if (images := _number_of_images(content, chunks)) > 1:
        raise UserError(f"holds {images} images: save the one you want as a separate file")
    width, height, bits, colour = struct.unpack(">IIBB", content[chunks[0].at : chunks[0].at + 10])
    channels = CHANNELS.get(colour, 4)
    coded = sum(chunk.size for chunk in chunks if chunk.name == "IDAT")
    if width * height * bits * (1 if colour == PALETTE else channels) > 8 * MOST_RATIO * (coded + 64):
        raise UserError(f"claims {width}x{height} px in {coded} bytes: it is cut off or a decompression bomb")
    exif, xmp, _, _ = _metadata(content, [chunk for chunk in chunks if chunk.name in ("eXIf", *TEXTS)])
    return Head(width, height, (channels + ("tRNS" in names)) * (2 if bits == 16 else 1), exif, xmp)


def _number_of_images(content: Content, chunks: Sequence[Chunk]) -> int:
    """Return the number of images: the frames, and the default image unless it is the first frame."""
    names = [chunk.name for chunk in chunks]
    if "acTL" not in names:
        return 1
    before = names[: names.index("IDAT")] if "IDAT" in names else names
    frames = int.from_bytes(_data(content, chunks[names.index("acTL")])[:4])
    return frames + ("fcTL" not in before)  # PNG third edition, 4.9: then the default image is no frame


def read_png(content: bytes) -> Image:
    """Read a PNG as it is stored, with its chunks; raises UserError as ``head_of_png`` does."""
    head = head_of_png(content)
    chunks, stop = scan(content)
    bits, colour = content[chunks[0].at + 8], content[chunks[0].at + 9]
    named = {chunk.name: _data(content, chunk) for chunk in reversed(chunks) if chunk.name != "IDAT"}
    pixels = _decode(content, chunks, bits, colour, named.get("tRNS"))
    others = [chunk for chunk in chunks if chunk.name not in (*CODING, "eXIf", "cICP")]
    exif, xmp, photoshop, parts = _metadata(content, others)
    exif = head.exif if exif is None else exif
    parts = [_fitted(part, bits, named.get("PLTE") if colour == PALETTE else None) for part in parts]
    icc = unpacked(named["iCCP"].partition(b"\0")[2][1:]) if "iCCP" in named else None
    lost = [f"PNG chunk {part.name} is left out" for part in parts if not _is_carried(part, icc)]
    left_out = left_behind(content, stop, "PNG")
    cicp = named.get("cICP")
    return Image(
        pixels,
        icc=icc,
        exif=exif,
        resolution=_density_of(named.get("pHYs")) or resolution_of(exif),
        xmp=xmp,
        iptc=iptc_of(photoshop),
        photoshop=photoshop,
        cicp=(cicp[0], cicp[1], cicp[2], cicp[3]) if cicp is not None and len(cicp) == 4 else None,
        parts=tuple(part for part in parts if _is_carried(part, icc)),
        source=Source("PNG", is_lossless=True, size=(head.width, head.height), bits=bits),
        notes=(*lost, *left_out),
        left_out=left_out,
    )


def write_png(image: Image, *, fast: bool = False) -> tuple[bytes, list[str]]:
    """Return the content of a PNG file with 8 or 16 bits, and lines about what could not be kept.

    ``fast`` compresses 8 bits faster: it takes a tenth of the time, and files are a few per cent larger.
    """
    height, width, channels = image.pixels.shape
    bits = image.bits
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR[channels], 0, 0, 0)
    chunks, lost = _chunks_of(image)
    coded = _code(image.pixels, fast=fast)
    head = b"".join(_packed(name, data) for name, data in [("IHDR", header), *chunks])
    return SIGNATURE + head + coded + _packed("IEND", b""), lost


def _chunks_of(image: Image) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Return the chunks before the pixels, colour first, and lines about what could not be kept."""
    lost: list[str] = []
    chunks: list[tuple[str, bytes]] = []
    kept = {part.name: part.data for part in image.parts_of("PNG")}
    if image.cicp is not None:
        primaries, transfer, _, full = image.cicp
        from_png = image.source is not None and image.source.format == "PNG"
        chunks.append(("cICP", bytes((primaries, transfer, RGB_MATRIX, full if from_png else 1))))
    if image.icc is not None:
        was = kept.get("iCCP", b"")
        same = unpacked(was.partition(b"\0")[2][1:]) == image.icc
        chunks.append(("iCCP", was if same else icc_profile(image.icc)))
    if image.resolution is not None or "pHYs" in kept:
        was = kept.get("pHYs")
        same = was is not None and _density_of(was) in (None, image.resolution)
        chunks.append(("pHYs", was if same and was is not None else _pixels_per_m(image.resolution)))
    for part in image.parts_of("PNG"):
        if part.name in ("iCCP", "pHYs"):
            continue
        if part.name in FORM and len(part.data) != FORM[part.name][image.pixels.shape[2]]:
            lost.append(f"PNG chunk {part.name} does not fit the new pixels and is left out")
            continue
        chunks.append((part.name, part.data))
    if image.exif is not None:
        chunks.append(("eXIf", image.exif))
    if image.xmp is not None:
        chunks.append(("iTXt", xmp_text(image.xmp)))
    if (photoshop := with_iptc(image.photoshop, image.iptc)) is not None:
        chunks.append(("zTXt", raw_profile("iptc", photoshop)))
    return sorted(chunks, key=lambda chunk: chunk[0] in TEXTS), lost


def _code(pixels: Pixels, *, fast: bool) -> bytes:
    """Return the IDAT chunks of pixels, compressed by libpng or, with ``fast``, by ISA-L."""
    if fast and pixels.dtype == np.uint8:
        return _packed("IDAT", isal_zlib.compress(less_the_row_above(pixels), ISAL_LEVEL))
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    filtered = pixels.nbytes + len(pixels)
    room = filtered + filtered // 4 + SPARE_BYTES  # more than deflate adds; the default is too little for narrow images
    coded = imagecodecs.png_encode(np.ascontiguousarray(flat), level=ZLIB_LEVEL, out=room)
    chunks, _ = scan(coded)
    return b"".join(coded[chunk.at - 8 : chunk.at + chunk.size + 4] for chunk in chunks if chunk.name == "IDAT")


def less_the_row_above(pixels: Pixels) -> Pixels:
    """Apply the filter "up" to rows (PNG third edition, 9.2); each row begins with the filter's number."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    filtered = np.empty((height, width * channels + 1), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _decode(content: bytes, chunks: list[Chunk], bits: int, colour: int, key: bytes | None) -> Pixels:
    """Decode the pixels from the coding chunks alone; a transparent value becomes an alpha channel."""
    needed = ("IHDR", "PLTE", "IDAT", "IEND", *(("tRNS",) if colour == PALETTE else ()))
    coding = [chunk for chunk in chunks if chunk.name in needed]
    for chunk in coding:
        if content[chunk.at + chunk.size : chunk.at + chunk.size + 4] != _checksum(chunk.name, _data(content, chunk)):
            raise ValueError(f"the checksum of its chunk {chunk.name} is wrong")
    bare = SIGNATURE + b"".join(content[chunk.at - 8 : chunk.at + chunk.size + 4] for chunk in coding)
    if bits == 16:
        pixels = imagecodecs.png_decode(bare)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    else:
        pixels = simplify(PngImagePlugin.PngImageFile(io.BytesIO(bare)), None).pixels
    if key is None or colour not in (GREY, RGB) or len(key) < 2 * pixels.shape[2]:
        return pixels
    values = np.array(struct.unpack_from(f">{pixels.shape[2]}H", key)) & ((1 << bits) - 1)
    if bits < 8:
        values = values * (255 // ((1 << bits) - 1))
    top = white_of(pixels)
    alpha = np.where((pixels == values.astype(pixels.dtype)).all(axis=2, keepdims=True), 0, top)
    return np.concatenate([pixels, alpha.astype(pixels.dtype)], axis=2)


def _metadata(content: Content, chunks: Iterable[Chunk]) -> tuple[bytes | None, bytes | None, bytes | None, list[Part]]:
    """Return EXIF, XMP and Photoshop's resources from any chunks, and the chunks that hold none of these."""
    found: dict[str, bytes] = {}
    parts: list[Part] = []
    for chunk in chunks:
        data = _data(content, chunk)
        named = ("exif", data) if chunk.name == "eXIf" else None
        if chunk.name in TEXTS:
            named = profile_of(*text_of(chunk.name, data))
        if named is not None and named[0] in ("exif", "xmp", "iptc") and named[0] not in found:
            found[named[0]] = named[1]
        else:
            parts.append(Part("PNG", chunk.name, data, chunk.at))
    return without_prefix(found.get("exif")), found.get("xmp"), found.get("iptc"), parts


def _fitted(part: Part, bits: int, palette: bytes | None) -> Part:
    """Convert a background colour from a palette or from fewer bits to the colours and depth of the pixels."""
    if part.name == "bKGD" and palette is not None and len(part.data) == 1:
        colours = palette[3 * part.data[0] : 3 * part.data[0] + 3]
        return replace(part, data=b"".join(bytes((0, value)) for value in colours))
    if part.name == "bKGD" and bits < 8 and len(part.data) == 2:
        value = int.from_bytes(part.data) * 255 // ((1 << bits) - 1)
        return replace(part, data=(value & 255).to_bytes(2))
    return part


def _is_carried(part: Part, icc: bytes | None) -> bool:
    if part.name == "iCCP":
        return icc is not None
    return part.name in CARRIED or (part.name[3:].islower() and part.name[:1].islower() and part.name != "hIST")


def _data(content: Content, chunk: Chunk) -> bytes:
    return bytes(content[chunk.at : chunk.at + chunk.size])


def _packed(name: str, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name.encode("latin-1") + data + _checksum(name, data)


def _checksum(name: str, data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data, zlib.crc32(name.encode("latin-1"))))


def _density_of(data: bytes | None) -> tuple[float, float] | None:
    if data is None or len(data) < 9:
        return None
    across, down, unit = struct.unpack_from(">IIB", data)
    return None if unit != 1 or not across or not down else (across * INCH_M, down * INCH_M)


def _pixels_per_m(resolution: tuple[float, float] | None) -> bytes:
    across, down = (round(value / INCH_M) for value in resolution or (0, 0))
    return struct.pack(">IIB", across, down, 1)
