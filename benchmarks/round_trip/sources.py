"""Image files of every format, depth and mode that is read, made by other libraries or byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pylibjxl
from numpy.typing import NDArray
from PIL import Image

from round_trip.blocks import (
    ASCII,
    BYTE,
    DPI,
    ICC,
    IPTC,
    LONG,
    PHOTOSHOP,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    XMP,
    Tag,
    directory,
    exif_block,
    photo_tags,
)

ASSETS = Path(__file__).parents[2] / "tests" / "images" / "assets"
HEIGHT, WIDTH = 48, 80
COMMENT = b"own comment"
LIGHT = {
    "gAMA": struct.pack(">I", 100_000),
    "cHRM": struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600),
    "cICP": bytes((9, 16, 0, 1)),
    "mDCV": struct.pack(">8H2I", *range(100, 108), 10_000_000, 50),
    "cLLI": struct.pack(">2I", 10_000_000, 4_000_000),
}
TEXTS = (("tEXt", b"Comment\0" + COMMENT), ("iTXt", b"Description\0\0\0\0\0" + "Grüße".encode()))
Samples = NDArray[Any]


@dataclass(frozen=True)
class Source:
    """A file: its format, what its pixels are, and what they show, ``h w c`` on the scale of their type.

    ``lossy``: the file itself only comes near to the pixels. ``bits``: of its channels, where the type of the pixels
    has more. ``turned``: the pixels are a quarter turn from how they are stored.
    """

    format: str
    kind: str
    suffix: str
    content: bytes
    pixels: Samples
    lossy: bool = False
    bits: int = 0
    turned: bool = False


def scene(dtype: Any, channels: int) -> Samples:
    """A smooth image with sharp edges; every channel differs, and the last of two and four is a ramp for alpha."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    planes = [x / WIDTH, y / HEIGHT, (x + y) / (HEIGHT + WIDTH), 1 - x / (2 * WIDTH)]
    taken = {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]
    values = np.stack([planes[plane] for plane in taken], axis=-1)
    values[10:20, 20:40, : 3 if channels >= 3 else 1] = 0.9
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    return np.rint(values * ((1 << 8 * kind.itemsize) - 1)).astype(kind)


def sources() -> Iterator[Source]:
    """Every source; all metadata that its format and its maker have room for are in it."""
    for make in (_jpegs, _pngs, _webps, _avifs, _tiffs, _bmps, _heics, _jxls, _raws):
        yield from make()


def _saved(image: Image.Image, format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _pil(pixels: Samples) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _jpegs() -> Iterator[Source]:
    grey, colour = scene(np.uint8, 1), scene(np.uint8, 3)
    common: dict[str, Any] = {"quality": 95, "icc_profile": ICC, "xmp": XMP, "dpi": DPI, "comment": COMMENT}
    for kind, pixels in (("8 bits, grey", grey), ("8 bits, RGB", colour)):
        content = _saved(_pil(pixels), "JPEG", exif=b"Exif\0\0" + exif_block(pixels), **common)
        yield Source("JPEG", kind, ".jpg", with_photoshop(content), pixels, lossy=True)
    stored = np.rot90(colour)
    turned = _saved(_pil(stored.copy()), "JPEG", exif=b"Exif\0\0" + exif_block(stored, orientation=6), **common)
    yield Source("JPEG", "8 bits, RGB, stored rotated", ".jpg", with_photoshop(turned), colour, lossy=True, turned=True)
    ink = np.concatenate([255 - colour, colour[..., :1] * 0], axis=2)
    cmyk = _saved(Image.fromarray(ink, "CMYK"), "JPEG", quality=95, dpi=DPI, exif=b"Exif\0\0" + exif_block(colour))
    yield Source("JPEG", "8 bits, CMYK", ".jpg", cmyk, colour, lossy=True)
    second = Image.fromarray(grey[..., 0]).reduce(2)
    options: dict[str, Any] = {"quality": 95, "dpi": DPI, "exif": b"Exif\0\0" + exif_block(colour)}
    two = _saved(_pil(colour), "MPO", save_all=True, append_images=[second], **options)
    yield Source("JPEG", "8 bits, RGB, with a gain map", ".jpg", two, colour, lossy=True)


def with_photoshop(jpeg: bytes) -> bytes:
    """A JPEG with Photoshop's resources, IPTC among them, before its first other segment."""
    data = b"Photoshop 3.0\0" + PHOTOSHOP
    return jpeg[:2] + struct.pack(">BBH", 0xFF, 0xED, len(data) + 2) + data + jpeg[2:]


def chunk(name: str, data: bytes) -> bytes:
    """A PNG chunk."""
    kind = name.encode()
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *chunks: tuple[str, bytes]) -> bytes:
    """A PNG with chunks after its header."""
    return png[:33] + b"".join(chunk(*one) for one in chunks) + png[33:]


def _profiles(pixels: Samples) -> list[tuple[str, bytes]]:
    raw = f"\nIPTC profile\n{len(PHOTOSHOP):8d}\n{PHOTOSHOP.hex()}\n".encode()
    across, down = (round(value / 0.0254) for value in DPI)
    return [
        ("iCCP", b"own\0\0" + zlib.compress(ICC)),
        ("pHYs", struct.pack(">IIB", across, down, 1)),
        ("eXIf", exif_block(pixels)),
        ("iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        ("zTXt", b"Raw profile type iptc\0\0" + zlib.compress(raw)),
        *TEXTS,
    ]


def _pngs() -> Iterator[Source]:
    for dtype in (np.uint8, np.uint16):
        bits = np.dtype(dtype).itemsize * 8
        for channels, mode in ((1, "grey"), (2, "grey and alpha"), (3, "RGB"), (4, "RGB and alpha")):
            pixels = scene(dtype, channels)
            content = with_chunks(imagecodecs.png_encode(pixels), *_profiles(pixels))
            yield Source("PNG", f"{bits} bits, {mode}", ".png", content, pixels)
        pixels = scene(dtype, 3)
        content = with_chunks(imagecodecs.png_encode(pixels), *LIGHT.items())
        yield Source("PNG", f"{bits} bits, RGB, with colour chunks", ".png", content, pixels)
        grey = scene(dtype, 1)
        keyed = with_chunks(imagecodecs.png_encode(grey), ("tRNS", struct.pack(">H", int(grey[0, 5, 0]))))
        alpha = np.where(grey == grey[0, 5, 0], 0, np.iinfo(dtype).max).astype(dtype)
        yield Source("PNG", f"{bits} bits, grey, one value transparent", ".png", keyed, np.dstack([grey, alpha]))
    colour = _pil(scene(np.uint8, 3)).quantize(16)
    yield Source("PNG", "4 bits, palette", ".png", _saved(colour, "PNG", bits=4), np.asarray(colour.convert("RGB")))
    clear = _saved(colour, "PNG", transparency=0)
    yield Source("PNG", "palette, one entry transparent", ".png", clear, _read_by_pillow(clear, "RGBA"))
    black = _pil(scene(np.uint8, 1)).convert("1")
    bits = np.asarray(black.convert("L"))[..., None]
    yield Source("PNG", "1 bit, grey", ".png", _saved(black, "PNG"), bits)


def _read_by_pillow(content: bytes, mode: str) -> Samples:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def _webps() -> Iterator[Source]:
    for lossless in (True, False):
        for channels, mode in ((3, "RGB"), (4, "RGB and alpha")):
            pixels = scene(np.uint8, channels)
            options = {"lossless": lossless, "quality": 95, "exact": True, "icc_profile": ICC, "xmp": XMP}
            content = _saved(_pil(pixels), "WEBP", exif=exif_block(pixels), **options)
            kind = f"8 bits, {mode}, {'lossless' if lossless else 'lossy'}"
            yield Source("WebP", kind, ".webp", content, pixels, lossy=not lossless)


def _avifs() -> Iterator[Source]:
    for channels, mode in ((1, "grey"), (3, "RGB"), (4, "RGB and alpha")):
        pixels = scene(np.uint8, channels)
        sampling = {"subsampling": "4:0:0" if channels == 1 else "4:4:4"}
        exif = Image.Exif()
        exif.load(exif_block(pixels))
        content = _saved(_pil(pixels), "AVIF", quality=95, exif=exif, xmp=XMP, icc_profile=ICC, **sampling)
        yield Source("AVIF", f"8 bits, {mode}", ".avif", content, pixels, lossy=True)
    lossless = scene(np.uint8, 3)
    yield Source("AVIF", "8 bits, RGB, lossless", ".avif", _encoded_avif(lossless, 8), lossless)
    for bits in (10, 12):
        deep = scene(np.uint16, 3) >> (16 - bits)
        wide = (deep << (16 - bits)) | (deep >> (2 * bits - 16))
        yield Source("AVIF", f"{bits} bits, RGB, lossless", ".avif", _encoded_avif(deep, bits), wide, bits=bits)


def _encoded_avif(pixels: Samples, bits: int) -> bytes:
    return bytes(imagecodecs.avif_encode(pixels, level=100, bitspersample=bits, pixelformat="444"))


def tiff(
    samples: Samples, photometric: int, order: str = "<", *, planar: bool = False, tags: tuple[Tag, ...] = ()
) -> bytes:
    """An uncompressed TIFF of one strip a plane, with all the metadata it has room for."""
    height, width, channels = samples.shape
    kind = samples.dtype
    stored = np.moveaxis(samples, 2, 0) if planar else samples
    data = np.ascontiguousarray(stored.astype(kind.newbyteorder(order))).tobytes()

    def numbers(letter: str, *values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}{letter}", *values)

    strips = channels if planar else 1
    each = len(data) // strips
    entries = [
        *(Tag(256, LONG, numbers("I", width)), Tag(257, LONG, numbers("I", height))),
        *(Tag(258, SHORT, numbers("H", *[8 * kind.itemsize] * channels)), Tag(259, SHORT, numbers("H", 1))),
        *(Tag(262, SHORT, numbers("H", photometric)), Tag(277, SHORT, numbers("H", channels))),
        Tag(273, LONG, numbers("I", *(8 + strip * each for strip in range(strips)))),
        *(Tag(278, LONG, numbers("I", height)), Tag(279, LONG, numbers("I", *[each] * strips))),
        *(Tag(284, SHORT, numbers("H", 2 if planar else 1)), Tag(700, BYTE, XMP), Tag(33723, UNDEFINED, IPTC)),
        *(Tag(34377, BYTE, PHOTOSHOP), Tag(34675, UNDEFINED, ICC)),
        Tag(339, SHORT, numbers("H", *[{"f": 3, "i": 2}.get(kind.kind, 1)] * channels)),
        *photo_tags(width, height, order),
        *tags,
    ]
    at = 8 + len(data) + len(data) % 2
    head = (b"II*\0" if order == "<" else b"MM\0*") + numbers("I", at)
    return head + data + bytes(len(data) % 2) + directory(entries, at, order)


def extra(*kinds: int, order: str = "<") -> tuple[Tag, ...]:
    """The tag that says what samples beyond the colours are: 0 unspecified, 1 premultiplied alpha, 2 alpha."""
    return (Tag(338, SHORT, struct.pack(f"{order}{len(kinds)}H", *kinds)),)


def _tiffs() -> Iterator[Source]:
    for name in ("uint8", "uint16", "float16", "float32", "float64"):
        kind = {"u": "bits", "f": "bits, float"}[np.dtype(name).kind]
        depth = f"{8 * np.dtype(name).itemsize} {kind}"
        for channels, mode in ((1, "grey"), (2, "grey and alpha"), (3, "RGB"), (4, "RGB and alpha")):
            pixels = scene(name, channels)
            tags = extra(2) if channels in (2, 4) else ()
            content = tiff(pixels, 2 if channels >= 3 else 1, tags=tags)
            yield Source("TIFF", f"{depth}, {mode}", ".tif", content, pixels)
    for name in ("uint8", "uint16"):
        depth = f"{8 * np.dtype(name).itemsize} bits"
        top, colour, grey = int(np.iinfo(name).max), scene(name, 3), scene(name, 1)
        yield Source("TIFF", f"{depth}, RGB, planar", ".tif", tiff(colour, 2, planar=True), colour)
        yield Source("TIFF", f"{depth}, RGB, big-endian", ".tif", tiff(colour, 2, ">"), colour)
        yield Source("TIFF", f"{depth}, grey, white is zero", ".tif", tiff(top - grey, 0), grey)
        straight = scene(name, 4)
        alpha = straight[..., 3:].astype(np.float64)
        product = np.rint(straight[..., :3] * alpha / top).astype(name)
        divided = np.minimum(np.rint(product / alpha * top), top).astype(name)
        content = tiff(np.dstack([product, straight[..., 3:]]), 2, tags=extra(1))
        yield Source(
            "TIFF", f"{depth}, RGB and premultiplied alpha", ".tif", content, np.dstack([divided, straight[..., 3:]])
        )
        unknown = tiff(scene(name, 4), 2, tags=extra(0))
        yield Source("TIFF", f"{depth}, RGB and an unspecified plane", ".tif", unknown, colour)
    ink = np.dstack([255 - scene(np.uint8, 3), np.zeros((HEIGHT, WIDTH, 1), np.uint8)])
    yield Source("TIFF", "8 bits, CMYK", ".tif", _without_profile(ink), scene(np.uint8, 3))
    black = _pil(scene(np.uint8, 1)).convert("1")
    bits = np.asarray(black.convert("L"))[..., None]
    yield Source("TIFF", "1 bit, grey", ".tif", _saved(black, "TIFF", compression="group4"), bits)
    palette = _pil(scene(np.uint8, 3)).quantize(16)
    yield Source("TIFF", "8 bits, palette", ".tif", _saved(palette, "TIFF"), np.asarray(palette.convert("RGB")))
    in_jpeg = _saved(_pil(scene(np.uint8, 3)), "TIFF", compression="jpeg", quality=95)
    yield Source("TIFF", "8 bits, RGB, JPEG inside", ".tif", in_jpeg, scene(np.uint8, 3), lossy=True)


def _without_profile(ink: Samples) -> bytes:
    return _saved(Image.fromarray(ink, "CMYK"), "TIFF")


def _bmps() -> Iterator[Source]:
    for kind, image in (
        ("8 bits, grey", _pil(scene(np.uint8, 1))),
        ("8 bits, RGB", _pil(scene(np.uint8, 3))),
        ("1 bit, grey", _pil(scene(np.uint8, 1)).convert("1")),
        ("8 bits, palette", _pil(scene(np.uint8, 3)).quantize(16)),
    ):
        shown = image.convert("L" if image.mode in ("L", "1") else "RGB")
        yield Source("BMP", kind, ".bmp", _saved(image, "BMP", dpi=DPI), np.atleast_3d(np.asarray(shown)))


def _heics() -> Iterator[Source]:
    for name, kind in (("8", "8 bits, RGB"), ("10", "10 bits, RGB"), ("alpha", "8 bits, RGB and alpha")):
        pixels = scene(np.uint16 if name == "10" else np.uint8, 4 if name == "alpha" else 3)
        content = (ASSETS / f"{name}.heic").read_bytes()
        yield Source("HEIC", kind, ".heic", content, pixels, lossy=True, bits=10 if name == "10" else 0)


def _jxls() -> Iterator[Source]:
    colour = scene(np.uint8, 3)
    content = pylibjxl.encode(colour, lossless=True, distance=0, exif=exif_block(colour), xmp=XMP, icc=ICC)
    yield Source("JPEG XL", "8 bits, RGB", ".jxl", content, colour)
    for dtype, channels, kind in (
        (np.uint8, 1, "8 bits, grey"),
        (np.uint8, 4, "8 bits, RGB and alpha"),
        (np.uint16, 3, "16 bits, RGB"),
        (np.uint16, 4, "16 bits, RGB and alpha"),
    ):
        pixels = scene(dtype, channels)
        stored = pixels[..., 0] if channels == 1 else pixels
        yield Source("JPEG XL", kind, ".jxl", imagecodecs.jpegxl_encode(stored, lossless=True), pixels)
    deep = scene(np.uint16, 3)
    ten = imagecodecs.jpegxl_encode(deep >> 6, lossless=True, bitspersample=10)
    yield Source("JPEG XL", "10 bits, RGB", ".jxl", ten, deep, lossy=True, bits=10)


def _raws() -> Iterator[Source]:
    shown = scene(np.uint16, 3)
    turned = dng(np.rot90(shown), orientation=6)
    yield Source("raw", "DNG, 16 bits", ".dng", dng(shown), shown, lossy=True)
    yield Source("raw", "DNG, 16 bits, stored rotated", ".dng", turned, shown, lossy=True, turned=True)


def dng(shown: Samples, *, orientation: int = 1) -> bytes:
    """A camera raw file whose sensor has the primaries of sRGB: behind each pixel of RGGB is one linear value."""
    values = shown / 65535
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    height, width, _ = shown.shape
    mosaic = np.empty((height, width))
    for (top, left), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[top::2, left::2] = linear[top::2, left::2, channel]
    mosaic[:2, :2] = 1  # LibRaw takes the brightest value for white if it is near to it
    data = np.rint(mosaic * 65535).astype("<u2").tobytes()

    def numbers(letter: str, *found: int) -> bytes:
        return struct.pack(f"<{len(found)}{letter}", *found)

    from_xyz = (3.2404542, -1.5371385, -0.4985314, -0.969266, 1.8760108, 0.041556, 0.0556434, -0.2040259, 1.0572252)
    matrix = [part for value in from_xyz for part in (round(value * 10_000), 10_000)]
    tags = [
        *photo_tags(width, height, "<", orientation=orientation),
        *(Tag(254, LONG, numbers("I", 0)), Tag(256, LONG, numbers("I", width)), Tag(257, LONG, numbers("I", height))),
        *(Tag(258, SHORT, numbers("H", 16)), Tag(259, SHORT, numbers("H", 1)), Tag(262, SHORT, numbers("H", 32803))),
        *(Tag(273, LONG, numbers("I", 8)), Tag(277, SHORT, numbers("H", 1)), Tag(278, LONG, numbers("I", height))),
        *(Tag(279, LONG, numbers("I", len(data))), Tag(700, BYTE, XMP), Tag(33421, SHORT, numbers("H", 2, 2))),
        *(Tag(33422, BYTE, bytes((0, 1, 1, 2))), Tag(50706, BYTE, bytes((1, 4, 0, 0))), Tag(50708, ASCII, b"Own\0")),
        *(Tag(50714, SHORT, numbers("H", 0)), Tag(50717, LONG, numbers("I", 65535))),
        *(Tag(50721, SRATIONAL, numbers("i", *matrix)), Tag(50728, RATIONAL, numbers("I", *(1, 1) * 3))),
        Tag(50778, SHORT, numbers("H", 21)),  # daylight of 6500 K
    ]
    start = 8 + len(data)
    return b"II*\0" + struct.pack("<I", start) + data + directory(tags, start, "<")
