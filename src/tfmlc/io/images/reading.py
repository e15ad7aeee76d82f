"""Reading of image files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.io.files import open_regular
from tfmlc.io.images.avif import head_of_avif, read_avif
from tfmlc.io.images.bmp import head_of_bmp, read_bmp
from tfmlc.io.images.formats import HEAD_BYTES, KINDS, READABLE, kind_of_bytes
from tfmlc.io.images.head import Content, FileBytes, Head
from tfmlc.io.images.heic import head_of_heic, read_heic
from tfmlc.io.images.image import Image, to_depth
from tfmlc.io.images.jpeg import head_of_jpeg, read_jpeg
from tfmlc.io.images.jxl import head_of_jxl, read_jxl
from tfmlc.io.images.png import head_of_png, read_png
from tfmlc.io.images.raw import head_of_raw, read_raw
from tfmlc.io.images.tiff import head_of_tiff, read_tiff
from tfmlc.io.images.upright import FIRST_TURNED, stored_orientation, upright
from tfmlc.io.images.webp import head_of_webp, read_webp
from tfmlc.io.images.xmp import get_restored
from tfmlc.runtime.memory import free_bytes

for _decoder in ("tifffile", "imagecodecs"):  # errors are reported once, by an exception
    logging.getLogger(_decoder).addHandler(logging.NullHandler())

MOST_OF_MEMORY = 0.8  # fraction of the free memory that reading one image can use
BYTES_BESIDE = 4  # per pixel, used by the decoder


@dataclass(frozen=True)
class Reader:
    """The functions that read a format: its header only, and the whole image."""

    head: Callable[[Content], Head]
    image: Callable[[bytes], Image]


READERS = {
    "JPEG": Reader(head_of_jpeg, read_jpeg),
    "PNG": Reader(head_of_png, read_png),
    "WEBP": Reader(head_of_webp, read_webp),
    "AVIF": Reader(head_of_avif, read_avif),
    "HEIC": Reader(head_of_heic, read_heic),
    "JPEG XL": Reader(head_of_jxl, read_jxl),
    "raw": Reader(head_of_raw, read_raw),
    "TIFF": Reader(head_of_tiff, read_tiff),
    "BMP": Reader(head_of_bmp, read_bmp),
}


def read_image(path: str | Path, *, allow_large: bool = False) -> Image:
    """Read a JPEG, PNG, WebP, AVIF, TIFF or BMP file; with an extra also HEIC, JPEG XL or camera raw.

    The image is made upright and the orientation in its metadata becomes 1. All other metadata is kept. Palettes
    become colours and CMYK becomes sRGB. Camera raw is developed to sRGB with 16 bits, and a note says how.

    Args:
        path: The file.
        allow_large: Whether to read an image that needs more than four fifths of the free memory. There is no other
            limit to its size. Reading needs memory for the file, twice the decoded pixels and four bytes per pixel.

    Returns:
        The image.

    Raises:
        UserError: If the file is missing, empty, damaged, animated, too large for the memory, or of another format.
            The error says what the file is and how to convert it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from tfmlc.io.images import write_image
        >>> with TemporaryDirectory() as folder:
        ...     notes = write_image(f"{folder}/a.png", Image(np.zeros((2, 3, 3), np.uint8)))
        ...     read_image(f"{folder}/a.png").pixels.shape
        (2, 3, 3)
    """
    path = Path(path)
    with open_regular(path) as file, reading_errors(path):
        reader = reader_of(path, file.read(HEAD_BYTES))
        head = reader.head(FileBytes(file))
        if not allow_large:
            check_memory(head, len(FileBytes(file)))
        file.seek(0)
        return decode(reader, file.read(), head)


def decode(reader: Reader, content: bytes, head: Head) -> Image:
    """Decode the upright image in the content of a file."""
    return upright(reader.image(content), head.orientation)


def read_rgb8(path: str | Path) -> NDArray[np.uint8]:
    """Read the pixels of an image as RGB uint8.

    Alpha is dropped, grey is repeated, and more than 8 bits are rounded.

    Args:
        path: The file.

    Returns:
        The pixels, ``h w 3``.

    Raises:
        UserError: As in ``read_image``, and if float values are outside of [0, 1].
    """
    path = Path(path)
    image = read_image(path)
    try:
        pixels = to_depth(image.pixels, 8)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    colour = pixels[..., :-1] if image.has_alpha else pixels
    return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)), np.uint8)


def read_size(path: str | Path) -> tuple[int, int]:
    """Return the width and height of the upright image; only the header is read."""
    head = read_head(path)
    orientation = head.orientation or stored_orientation(head.exif, head.xmp)
    return (head.height, head.width) if orientation >= FIRST_TURNED else (head.width, head.height)


def restored_mark(path: str | Path) -> str | None:
    """Return the mark of a restored image (``Image.restored``), or None; the pixels are not decoded.

    Raises UserError if the file is not an image.
    """
    return get_restored(read_head(path).xmp)


def read_head(path: str | Path) -> Head:
    """Read the header of an image file; raises UserError if the file is not an image."""
    path = Path(path)
    with open_regular(path) as file, reading_errors(path):
        return reader_of(path, file.read(HEAD_BYTES)).head(FileBytes(file))


def reader_of(path: Path, head: bytes) -> Reader:
    """Return the reader for a file by its first bytes; raises UserError if it is empty or not a supported image."""
    if not head:
        raise UserError("is empty")
    kind = kind_of_bytes(head, path.suffix)
    if kind is None:
        raise UserError(f"is not an image: supported formats are {READABLE}")
    if not kind.is_read:
        raise UserError(f"is {kind.name}: {kind.remedy}")
    return READERS[next(name for name, known in KINDS.items() if known is kind)]


def check_memory(head: Head, file_bytes: int) -> None:
    """Raise UserError if reading an image needs more memory than is free."""
    pixels = head.width * head.height
    needed = file_bytes + pixels * (2 * head.bytes_per_px + BYTES_BESIDE)
    free = free_bytes()
    if needed > free * MOST_OF_MEMORY:
        raise UserError(
            f"has {head.width}x{head.height} px and needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are "
            "free (it can be a decompression bomb): close other programs or split the image",
            option="allow_large",
        )


@contextmanager
def reading_errors(path: Path) -> Generator[None]:
    """Turn any error of a decoder into one line that names the file."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path} {error}", option=error.option) from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory: close other programs or split the image") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or cut off: {reason}") from error
