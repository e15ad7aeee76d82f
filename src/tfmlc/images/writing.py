"""From arrays to picture files, with what each format can keep."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from isal import isal_zlib
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfmlc.errors import UserError
from tfmlc.files import write_atomically
from tfmlc.images.bmp import with_xmp
from tfmlc.images.formats import FORMATS
from tfmlc.images.picture import Picture, Pixels, to_depth
from tfmlc.images.reading import swap_red_blue
from tfmlc.images.xmp import get_restored, set_restored

JPEG_QUALITY, AVIF_QUALITY, ISAL_LEVEL = 95, 90, 2
PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels, RFC 2083 section 4.1.1


def write_image(path: str | Path, picture: Picture, *, fast: bool = False) -> list[str]:
    """Write a picture whole or not at all, in the format that the name asks for; return what it could not keep.

    PNG and TIFF keep 16 bits, PNG, TIFF and WebP keep alpha; EXIF and colour profile go wherever the format has
    a place for them. ``fast`` compresses PNG less hard: a tenth of the time, files a few per cent larger. Raises
    UserError for an unknown suffix or where the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"cannot write {path}: the name must end in one of {' '.join(FORMATS)}")
    name = FORMATS[path.suffix.lower()]
    lost: list[str] = []
    pixels = picture.pixels
    if pixels.dtype == np.uint16 and name not in ("PNG", "TIFF"):
        pixels = to_depth(pixels, 8)
        lost.append(f"{name} has 8 bits a channel")
    if pixels.shape[2] in (2, 4) and name in ("JPEG", "BMP"):
        pixels = _on_white(pixels)
        lost.append(f"{name} has no alpha channel: laid on white")
    if name == "BMP" and (picture.icc or picture.exif):
        lost.append("BMP keeps neither EXIF nor colour profile")
    if picture.restored is not None and get_restored(picture.xmp) != picture.restored:
        picture = replace(picture, xmp=set_restored(picture.xmp, picture.restored))
    picture = picture.with_pixels(pixels)
    deep = pixels.dtype == np.uint16
    write_atomically(path, _encode_deep(picture, name) if deep else _encode(picture, name, fast=fast))
    return lost


def _on_white(pixels: Pixels) -> Pixels:
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(np.float32) / top
    laid = pixels[..., :-1] * alpha + top * (1 - alpha)
    return np.rint(laid).astype(pixels.dtype)


def _encode(picture: Picture, name: str, *, fast: bool) -> bytes:
    pixels = picture.pixels
    if fast and name == "PNG" and not (picture.icc or picture.exif or picture.resolution or picture.xmp):
        return _fast_png(pixels)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"exif": picture.exif, "icc_profile": picture.icc, "dpi": picture.resolution}
    options = {key: value for key, value in options.items() if value is not None}
    if name in ("JPEG", "WEBP"):
        options["quality"] = JPEG_QUALITY
    if name == "AVIF":
        options |= {"quality": AVIF_QUALITY, "subsampling": "4:4:4"}
    if name == "JPEG":
        options["subsampling"] = 0
    if name == "PNG" and fast:
        options["compress_level"] = 1
    if name == "TIFF" and picture.exif is None:  # Pillow loses the settings of the photo where it compresses
        options["compression"] = "tiff_adobe_deflate"
    if name == "BMP":
        options = {}
    elif picture.xmp:
        options |= _xmp_option(picture.xmp, name)
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    if name == "BMP" and picture.xmp:
        return with_xmp(buffer.getvalue(), picture.xmp)
    return buffer.getvalue()


def _xmp_option(xmp: bytes, name: str) -> dict[str, Any]:
    if name == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        return {"pnginfo": text}
    return {"tiffinfo": {700: xmp}} if name == "TIFF" else {"xmp": xmp}


def _fast_png(pixels: Pixels) -> bytes:
    """PNG of 8 bits: each row less the one above it, deflated by ISA-L in a fifth of zlib's least time."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels).reshape(height, width * channels)
    filtered = np.empty((height, width * channels + 1), np.uint8)
    filtered[:, 0] = 2  # the filter "up"
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOUR[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", isal_zlib.compress(filtered, ISAL_LEVEL)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _encode_deep(picture: Picture, name: str) -> bytes:
    """16 bits a channel: PNG by OpenCV with its metadata, TIFF by tifffile."""
    if name == "TIFF":
        return _encode_deep_tiff(picture)
    blocks: list[tuple[int, bytes]] = []
    if picture.exif:
        blocks.append((cv2.IMAGE_METADATA_EXIF, picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc:
        blocks.append((cv2.IMAGE_METADATA_ICCP, picture.icc))
    if picture.xmp:
        blocks.append((cv2.IMAGE_METADATA_XMP, picture.xmp))
    pixels = picture.pixels
    if pixels.shape[2] == 2:  # OpenCV has no grey with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    kinds = [kind for kind, _ in blocks]
    contents = [np.frombuffer(block, np.uint8) for _, block in blocks]
    _, encoded = cv2.imencodeWithMetadata(".png", swap_red_blue(pixels), kinds, contents)
    return encoded.tobytes()


def _encode_deep_tiff(picture: Picture) -> bytes:
    import tifffile

    channels = picture.pixels.shape[2]
    extratags: list[tuple[int, int, int, Any, bool]] = []
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    for tag, value in exif.items():
        if isinstance(value, str) and tag != 0x0131:  # tifffile writes the software tag itself
            extratags.append((tag, 2, 0, value, True))
    if picture.xmp:
        extratags.append((700, 1, len(picture.xmp), picture.xmp, True))
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        picture.pixels[..., 0] if channels == 1 else picture.pixels,
        photometric="rgb" if channels >= 3 else "minisblack",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        planarconfig="contig" if channels > 1 else None,
        compression="zlib",
        iccprofile=picture.icc,
        extratags=extratags,
        resolution=picture.resolution,
        resolutionunit="inch" if picture.resolution else None,
        metadata=None,
    )
    return buffer.getvalue()
