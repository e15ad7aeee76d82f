"""The check of a new image file: it is decoded and compared with the image before it replaces anything."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from tfmlc.io.images.avif import depth_of, narrow, widen
from tfmlc.io.images.exif import is_readable
from tfmlc.io.images.image import Image, Pixels, to_depth, turn, white_of
from tfmlc.io.images.jpeg import decode as decode_jpeg
from tfmlc.io.images.jpeg import head_of_jpeg, icc_of
from tfmlc.io.images.jpeg import scan as scan_jpeg
from tfmlc.io.images.modes import simplify
from tfmlc.io.images.png import less_the_row_above
from tfmlc.io.images.png import scan as scan_png
from tfmlc.io.images.reading import READERS, decode
from tfmlc.io.images.tiff import multiplied_by_alpha
from tfmlc.io.images.upright import stored_orientation

SEEN_PX = 16  # lossy files are compared at this size of the longer side
LARGE_PX = 1024  # a JPEG whose shorter side is at least this is decoded at an eighth of its size
FARTHEST = 12.0  # largest mean difference at the small size, of 255
LABELS = {"icc": "the colour profile", "exif": "EXIF", "xmp": "XMP"}


class UnprovenError(ValueError):
    """A new file does not decode to the image that was written."""


def prove(content: bytes, image: Image, format_name: str, *, fast: bool = False) -> list[str]:
    """Check that the content of a new file decodes to the image.

    Lossless files must decode to the same pixels, lossy files to a similar image at a small size. Large JPEGs are
    decoded at an eighth of their size. Of a ``fast`` PNG only the compression is checked.

    Args:
        content: The content of the file.
        image: The image.
        format_name: The format of the file.
        fast: Whether a PNG was written with ``fast``.

    Returns:
        Lines about metadata that was not written.

    Raises:
        UnprovenError: If the pixels differ.
    """
    if fast and format_name == "PNG":
        _prove_packed(content, image.pixels)
        return []
    back = _half_read(content) if format_name == "JPEG" else decode_again(content, format_name)
    if format_name == "JPEG" or not _is_exact(image, format_name):
        _prove_alike(back.pixels, image.pixels)
    elif not _same(_exactly(back, format_name, image), _exactly(image, format_name, image)):
        raise UnprovenError("the new file has other pixels than the image")
    if (back.extra is None) != (image.extra is None) or (
        back.extra is not None and image.extra is not None and not _same(back.extra, image.extra)
    ):
        raise UnprovenError("the new file has other planes than the image")
    changed = [LABELS[name] for name in ("icc", "xmp") if getattr(back, name) != getattr(image, name)]
    if back.exif is None and is_readable(image.exif):
        changed.append(LABELS["exif"])
    return [f"{name} could not be written" for name in changed]


def decode_again(content: bytes, format_name: str) -> Image:
    """Decode the content of a file."""
    reader = READERS[format_name]
    return decode(reader, content, reader.head(content))


def _half_read(content: bytes) -> Image:
    """Decode a JPEG with its metadata; a large one at an eighth of its size."""
    head = head_of_jpeg(content)
    segments, stop = scan_jpeg(content)
    image = decode_jpeg(content, segments, stop)
    if min(head.width, head.height) >= LARGE_PX:
        image.draft(None, (head.width // 8, head.height // 8))
    pixels = turn(simplify(image, None).pixels, stored_orientation(head.exif, head.xmp))
    return Image(pixels, icc=icc_of(segments)[0], exif=head.exif, xmp=head.xmp)


def _is_exact(image: Image, format_name: str) -> bool:
    if format_name not in ("WEBP", "AVIF"):
        return True
    deep = format_name == "AVIF" and image.source is None and image.pixels.dtype != np.uint8
    return deep or (image.source is not None and image.source.is_lossless)


def _exactly(image: Image, format_name: str, source: Image) -> NDArray[Any]:
    """Convert pixels to what a lossless format can return: its depth, its channels, its kind of alpha."""
    pixels: NDArray[Any] = image.pixels
    if format_name in ("WEBP", "AVIF"):
        grey = pixels.shape[2] <= 2 and not (format_name == "AVIF" and source.pixels.shape[2] == 1)
        if grey:
            pixels = pixels[..., [0, 0, 0, *([1] if pixels.shape[2] == 2 else [])]]
        if format_name == "AVIF" and pixels.dtype == np.uint16:
            bits = depth_of(source)
            pixels = widen(narrow(pixels, bits), bits)
        if pixels.shape[2] == 4 and (pixels[..., 3] == white_of(pixels)).all():
            pixels = pixels[..., :3]  # both formats drop an alpha channel that is opaque everywhere
    if format_name == "TIFF" and source.source is not None:
        if source.has_alpha and source.source.premultiplied:
            pixels = multiplied_by_alpha(pixels)
        if source.source.sample == "float16" and pixels.dtype == np.float32:
            pixels = pixels.astype(np.float16)
    return pixels


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _prove_packed(content: bytes, pixels: Pixels) -> None:
    """Raise UnprovenError unless the data that ISA-L compressed decompress to the rows that it was given."""
    chunks, _ = scan_png(content)
    packed = b"".join(content[chunk.at : chunk.at + chunk.size] for chunk in chunks if chunk.name == "IDAT")
    if isal_zlib.decompress(packed) != less_the_row_above(pixels).tobytes():
        raise UnprovenError("the new file has other pixels than the image")


def _prove_alike(back: Pixels, image: Pixels) -> None:
    """Raise UnprovenError unless both images are similar at a small size, whatever their channels."""
    height, width = image.shape[:2]
    size = (max(1, min(SEEN_PX, width // 4)), max(1, min(SEEN_PX, height // 4)))
    small = [_small(pixels, size) for pixels in (back, image)]
    difference = float(np.abs(small[0] - small[1]).mean())
    if not difference <= FARTHEST:
        raise UnprovenError(f"the new file differs from the image by {difference:.0f} of 255 on average")


def _small(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a small copy as RGB and alpha, on the scale of 8 bits."""
    small = cast(Pixels, cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)).reshape(size[1], size[0], -1)
    eight = to_depth(small, 8).astype(np.float32)
    colours, alpha = (
        (eight[..., :-1], eight[..., -1:]) if eight.shape[2] in (2, 4) else (eight, eight[..., :1] * 0 + 255)
    )
    return np.concatenate([np.broadcast_to(colours, (*colours.shape[:2], 3)), alpha], axis=2)
