"""The door between picture files and arrays: depth, alpha, orientation, EXIF and colour profile survive."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from tfmlc.errors import UserError
from tfmlc.files import write_atomically

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
READABLE = "JPEG, PNG, WebP, TIFF and BMP"
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
JPEG_QUALITY = 95
FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]

Pixels = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 or uint16 ``h w c``, upright, and what travels with it.

    Channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. ``icc`` is the colour profile, ``exif`` the EXIF
    block without orientation (the pixels are already turned), ``resolution`` dots per inch.
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float] | None = None

    @property
    def bits(self) -> int:
        """Bits a channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same picture with other pixels."""
        return replace(self, pixels=pixels)


def is_image_name(path: Path) -> bool:
    """Whether a file's name says that it is a picture of a format read here."""
    return path.suffix.lower() in FORMATS


def find_pictures(path: Path, *, leave_out: Path | None = None) -> list[tuple[Path, Path]]:
    """Every picture at ``path``, itself or in the folder and its subfolders, with its name relative to it.

    In natural order (``frame9`` before ``frame10``); the folder ``leave_out`` is not searched. Raises UserError
    where there is nothing at ``path`` or no picture in the folder.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if not path.is_dir():
        return [(path, Path(path.name if is_image_name(path) else f"{path.name}.png"))]
    inside = leave_out.resolve() if leave_out is not None else None
    names = [name for name in path.rglob("*") if name.is_file() and is_image_name(name)]
    names = [name for name in names if inside is None or inside not in name.resolve().parents]
    if not names:
        raise UserError(f"no pictures in {path}: {' '.join(FORMATS)} are looked for")
    return [(name, name.relative_to(path)) for name in sorted(names, key=natural_key)]


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Sort key under which ``frame9`` comes before ``frame10``.

    >>> [path.name for path in sorted([Path("a10"), Path("a9"), Path("a")], key=natural_key)]
    ['a', 'a9', 'a10']
    """
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def read_image(path: str | Path) -> Picture:
    """Read a JPEG, PNG, WebP, TIFF or BMP file.

    The orientation in its EXIF block is applied to the pixels and removed from the block. CMYK becomes RGB by
    its profile, a palette its colours. Raises UserError for a file that is missing, empty, cut off, of another
    kind, animated, larger than Pillow's guard against decompression bombs (179 megapixels) or of more than 16 bits
    a channel.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if not content:
        raise UserError(f"{path} is empty")
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
    return Picture(pixels, icc, _photo_tags(exif), resolution)


def read_rgb8(path: str | Path) -> NDArray[np.uint8]:
    """Read a picture as RGB uint8 ``h w 3``; alpha is dropped, grey repeated, 16 bits rounded to 8."""
    pixels = to_depth(read_image(path).pixels, 8)
    colour = pixels[..., :-1] if pixels.shape[2] in (2, 4) else pixels
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)), np.uint8)


def to_depth(pixels: Pixels, bits: int) -> Pixels:
    """Change between 8 and 16 bits a channel, rounding; white stays white."""
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if bits == 16:
        return pixels.astype(np.uint16) * np.uint16(257)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_image(path: str | Path, picture: Picture, *, fast: bool = False) -> list[str]:
    """Write a picture whole or not at all, in the format that the name asks for; return what it could not keep.

    PNG and TIFF keep 16 bits, PNG, TIFF and WebP keep alpha; EXIF and colour profile go wherever the format has
    a place for them. ``fast`` compresses PNG less hard: half the time, files a tenth larger. Raises UserError for
    an unknown suffix or where the disk refuses.
    """
    path = Path(path)
    if not is_image_name(path):
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
    picture = picture.with_pixels(pixels)
    deep = pixels.dtype == np.uint16
    write_atomically(path, _encode_deep(picture, name) if deep else _encode(picture, name, fast=fast))
    return lost


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
    return np.asarray(_swap_red_blue(decoded), np.uint16)


def _swap_red_blue(pixels: Pixels) -> Pixels:
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


def _on_white(pixels: Pixels) -> Pixels:
    top = np.iinfo(pixels.dtype).max
    alpha = pixels[..., -1:].astype(np.float32) / top
    laid = pixels[..., :-1] * alpha + top * (1 - alpha)
    return np.rint(laid).astype(pixels.dtype)


def _encode(picture: Picture, name: str, *, fast: bool) -> bytes:
    pixels = picture.pixels
    plain = pixels.shape[2] == 3 and not (picture.icc or picture.exif or picture.resolution)
    if fast and name == "PNG" and plain:
        _, coded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), FAST_PNG)
        return coded.tobytes()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"exif": picture.exif, "icc_profile": picture.icc, "dpi": picture.resolution}
    options = {key: value for key, value in options.items() if value is not None}
    if name in ("JPEG", "WEBP"):
        options["quality"] = JPEG_QUALITY
    if name == "JPEG":
        options["subsampling"] = 0
    if name == "PNG" and fast:
        options["compress_level"] = 1
    if name == "TIFF" and picture.exif is None:  # Pillow loses the settings of the photo where it compresses
        options["compression"] = "tiff_adobe_deflate"
    if name == "BMP":
        options = {}
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def _encode_deep(picture: Picture, name: str) -> bytes:
    """16 bits a channel: PNG by OpenCV with its metadata, TIFF by tifffile."""
    if name == "TIFF":
        return _encode_deep_tiff(picture)
    blocks: list[tuple[int, bytes]] = []
    if picture.exif:
        blocks.append((cv2.IMAGE_METADATA_EXIF, picture.exif.removeprefix(b"Exif\0\0")))
    if picture.icc:
        blocks.append((cv2.IMAGE_METADATA_ICCP, picture.icc))
    pixels = picture.pixels
    if pixels.shape[2] == 2:  # OpenCV has no grey with alpha
        pixels = pixels[..., [0, 0, 0, 1]]
    kinds = [kind for kind, _ in blocks]
    contents = [np.frombuffer(block, np.uint8) for _, block in blocks]
    _, encoded = cv2.imencodeWithMetadata(".png", _swap_red_blue(pixels), kinds, contents)
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
