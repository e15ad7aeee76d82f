"""From picture files to arrays: depth, alpha, orientation, EXIF and colour profile survive."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from tfmlc.errors import UserError
from tfmlc.files import open_regular
from tfmlc.images.bmp import read_xmp
from tfmlc.images.formats import FORMATS, HEAD_BYTES, READABLE, kind_of_bytes
from tfmlc.images.picture import Picture, Pixels, to_depth
from tfmlc.images.xmp import get_restored

FIRST_TURNED_ORIENTATION = 5  # the first that swaps width and height
ORIENTATION = 0x0112
# TIFF tags that describe how pixels are stored, not the photo; they must not follow it into another file.
STORAGE_TAGS = {
    *range(254, 270),
    273,
    ORIENTATION,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    323,
    324,
    325,
    338,
    339,
    700,
    34675,
}


def read_image(path: str | Path) -> Picture:
    """Read a JPEG, PNG, WebP, AVIF, TIFF or BMP file.

    The orientation in its EXIF block is applied to the pixels and removed from the block. CMYK becomes RGB by
    its profile, a palette its colours. Raises UserError for a file that is missing, empty, cut off, of another
    kind, animated, larger than Pillow's guard against decompression bombs (179 megapixels) or of more than 16 bits
    a channel.
    """
    path = Path(path)
    with open_regular(path) as file:
        content = file.read()
    _check_content(path, content)
    with _decoding_errors(path), Image.open(io.BytesIO(content)) as image:
        _check_kind(path, image)
        image.load()
        exif, icc = image.getexif(), cast("bytes | None", image.info.get("icc_profile"))
        orientation = int(exif.get(ORIENTATION, 1))
        if _is_deep(content, image):
            pixels = _turn(_decode_deep(path, content), orientation)
        else:
            upright = ImageOps.exif_transpose(image)
            upright, icc = _to_simple_mode(upright, icc)
            pixels = np.asarray(upright, np.uint8)
        resolution = cast("tuple[float, float] | None", image.info.get("dpi"))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    xmp = read_xmp(io.BytesIO(content)) if image.format == "BMP" else _xmp_of(image)
    return Picture(pixels, icc, _photo_tags(exif), resolution, xmp, get_restored(xmp))


def read_rgb8(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture as RGB uint8 ``h w 3``; alpha is dropped, grey repeated, 16 bits rounded to 8."""
    pixels = to_depth(read_image(path).pixels, 8)
    colour = pixels[..., :-1] if pixels.shape[2] in (2, 4) else pixels
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)), np.uint8)


def read_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown; only the file's head is read."""
    path = Path(path)
    with open_regular(path) as file, _decoding_errors(path), Image.open(file) as image:
        turned = int(image.getexif().get(ORIENTATION, 1)) >= FIRST_TURNED_ORIENTATION
        width, height = image.size
        return (height, width) if turned else (width, height)


def restored_mark(path: str | Path) -> str | None:
    """The mark of an image that was restored here (``Picture.restored``), or None; the pixels are not decoded.

    Raises UserError where there is no image to read.
    """
    path = Path(path)
    with open_regular(path) as file, _decoding_errors(path), Image.open(file) as image:
        return get_restored(read_xmp(file) if image.format == "BMP" else _xmp_of(image))


def _xmp_of(image: Image.Image) -> bytes | None:
    found = cast("bytes | str | None", image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"))
    if found is None and image.format == "TIFF":
        found = cast("bytes | None", cast("Any", image).tag_v2.get(700))
    return found.encode() if isinstance(found, str) else found


@contextmanager
def _decoding_errors(path: Path) -> Generator[None]:
    """Turn what decoders raise into one line that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd EXIF entries; both are handled
            yield
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a picture; {READABLE} are read") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is not opened, it could be a decompression bomb: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, cv2.error) as error:
        raise UserError(f"{path} is damaged or cut off: {str(error).splitlines()[0]}") from error


def _check_content(path: Path, content: bytes) -> None:
    """Raise UserError for an empty file, and for one that is of a known kind which is not read."""
    if not content:
        raise UserError(f"{path} is empty")
    kind = kind_of_bytes(content[:HEAD_BYTES], path.suffix)
    if kind is not None and not kind.is_read:
        raise UserError(f"{path} is {kind.name}: {kind.remedy}")


def _check_kind(path: Path, image: Image.Image) -> None:
    if image.format not in {*FORMATS.values(), "MPO"}:
        raise UserError(f"{path} is a {image.format} file; {READABLE} are read: save it as one of these")
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format != "MPO":  # a phone's JPEG with a second, smaller picture
        raise UserError(f"{path} holds {frames} pictures; save the one you want as a file of its own")
    if image.mode in ("I", "F"):
        raise UserError(f"{path} has 32 bits a channel; 8 and 16 are read")


def _is_deep(content: bytes, image: Image.Image) -> bool:
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return content[24] == 16  # bit depth in the IHDR chunk
    if image.format == "TIFF":
        tags = cast("Any", image).tag_v2
        return max(cast("tuple[int, ...]", tags.get(258, (8,)))) == 16
    return False


def _decode_deep(path: Path, content: bytes) -> Pixels:
    flags = cv2.IMREAD_UNCHANGED
    decoded = cast("NDArray[Any] | None", cv2.imdecode(np.frombuffer(content, np.uint8), flags))
    if decoded is None or decoded.dtype != np.uint16:
        raise UserError(f"{path} is a 16 bit picture of a kind that is not read; save it as RGB or grey PNG")
    return np.asarray(swap_red_blue(decoded), np.uint16)


def swap_red_blue(pixels: Pixels) -> Pixels:
    """BGR to RGB and back, alpha left in its place."""
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        return np.ascontiguousarray(pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]])
    return pixels


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (1 to 8) to an array."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _to_simple_mode(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Grey, grey and alpha, RGB or RGBA; with the profile where it still fits."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        if "transparency" in image.info:
            return image.convert("LA" if image.mode == "L" else "RGBA"), icc
        return image, icc
    if image.mode in ("1", "P", "PA", "La", "RGBa", "RGBX"):
        if image.mode == "1":
            return image.convert("L"), icc
        see_through = "transparency" in image.info or image.mode in ("PA", "RGBa")
        return image.convert("RGBA" if see_through else "RGB"), icc
    if image.mode == "CMYK" and icc:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(
                image, source, cast(Any, ImageCms).createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            converted = None
        if converted is not None:
            return converted, None
    return image.convert("RGB"), None


def _photo_tags(exif: Image.Exif) -> bytes | None:
    """The EXIF block without orientation and without the tags that describe the old file's storage."""
    kept = Image.Exif()
    for tag, value in exif.items():
        if tag not in STORAGE_TAGS and tag not in (0x8769, 0x8825):
            kept[tag] = value
    for folder in (0x8769, 0x8825):  # the photo's settings, and where it was taken
        if entries := exif.get_ifd(folder):
            kept.get_ifd(folder).update(entries)
    try:
        return kept.tobytes() if len(kept) or kept.get_ifd(0x8769) or kept.get_ifd(0x8825) else None
    except (struct.error, TypeError, ValueError, OverflowError):  # entries that break the standard
        return None
