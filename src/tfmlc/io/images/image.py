"""An image in memory: its pixels and all metadata of its file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError

Pixels = NDArray[np.uint8 | np.uint16 | np.float32]
Sample = Literal["uint", "float16", "float32", "float64"]
BAND_ROWS = 256
BACK = {6: 8, 8: 6}  # orientations that are not their own reverse
FLOAT_RANGE = (-0.01, 1.01)  # [0, 1] with a tolerance for rounding and resampling


@dataclass(frozen=True)
class Part:
    """A part of a file that only its own format can store, such as a PNG chunk or a JPEG segment.

    Attributes:
        format: The format of the file.
        name: The type of the chunk or segment.
        data: Its content.
        at: The position of its content in the file, which some parts refer to.
    """

    format: str
    name: str
    data: bytes
    at: int = 0


@dataclass(frozen=True)
class Source:
    """The properties of the file that an image was read from. A new file gets the same, as far as it can.

    Attributes:
        format: The format, such as ``"JPEG"``.
        is_lossless: Whether it is stored losslessly.
        size: The width and height of the upright image.
        bits: The bits per channel.
        sample: The type of the samples.
        orientation: The EXIF orientation that it was stored with.
        premultiplied: Whether the colours are multiplied by alpha in the file.
        extra_kinds: The kinds of the planes in ``Image.extra``, as TIFF numbers them.
    """

    format: str
    is_lossless: bool
    size: tuple[int, int]
    bits: int = 8
    sample: Sample = "uint"
    orientation: int = 1
    premultiplied: bool = False
    extra_kinds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Image:
    """A decoded image with its metadata.

    Attributes:
        pixels: Upright pixels ``h w c``: uint8, uint16 or float32 in [0, 1]. The channels are grey, grey and alpha,
            RGB, or RGB and alpha. The colours are not multiplied by alpha.
        icc: The colour profile.
        exif: The EXIF block of the file, from its TIFF header on, with the orientation set to 1.
        resolution: The resolution in dots per inch, horizontal and vertical.
        xmp: The XMP packet.
        restored: The mark of a restored image; it says what restored it.
        iptc: The IPTC records.
        photoshop: Photoshop's image resources.
        cicp: Colour primaries, transfer, matrix and range, as numbered in ITU-T H.273.
        extra: Planes that are neither colour nor alpha, ``h w n``.
        parts: Parts that only a file of the same format can store.
        source: The properties of the file.
        notes: What reading has changed.
        left_out: Those notes that name content of the file that is lost if an image without it replaces the file.
        changed: Whether the pixels differ from those of the file.

    Example:
        >>> image = Image(np.zeros((2, 3, 4), np.uint8))
        >>> image.bits, image.has_alpha
        (8, True)
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float] | None = None
    xmp: bytes | None = None
    restored: str | None = None
    iptc: bytes | None = None
    photoshop: bytes | None = None
    cicp: tuple[int, int, int, int] | None = None
    extra: Pixels | None = None
    parts: tuple[Part, ...] = ()
    source: Source | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    changed: bool = False

    @property
    def bits(self) -> int:
        """The bits per channel: 8, 16, or 32 for floats."""
        return self.pixels.dtype.itemsize * 8

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    def with_pixels(self, pixels: Pixels) -> Image:
        """Return the image with other pixels and the same metadata."""
        return replace(self, pixels=pixels, changed=True)

    def parts_of(self, format_name: str) -> list[Part]:
        """Return the parts for a file of this format."""
        return [part for part in self.parts if part.format == format_name]


def left_behind(content: bytes, stop: int, name: str) -> tuple[str, ...]:
    """Return a line if a file goes on after the end of its image; empty memory does not count.

    >>> left_behind(b"imagevideo", 5, "PNG"), left_behind(b"image" + bytes(9), 5, "PNG")
    (('5 bytes after the end of the PNG are left out',), ())
    """
    behind = len(content) - stop
    return (f"{behind} bytes after the end of the {name} are left out",) if content[stop:].strip(b"\0") else ()


def to_depth(pixels: Pixels, bits: int) -> Pixels:
    """Convert pixels to 8 or 16 bits per channel, with rounding; white stays white.

    Args:
        pixels: uint8, uint16 or float32 in [0, 1].
        bits: 8 or 16.

    Returns:
        The pixels as uint8 or uint16.

    Raises:
        UserError: If float values are outside of [0, 1].
    """
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if pixels.dtype == np.float32:
        check_range(pixels)
    answer = np.empty(pixels.shape, np.uint8 if bits == 8 else np.uint16)
    for row in range(0, len(pixels), BAND_ROWS):  # in bands, to avoid a wide copy of the whole image
        band = pixels[row : row + BAND_ROWS]
        if pixels.dtype == np.float32:
            answer[row : row + BAND_ROWS] = np.rint(np.clip(band, 0, 1) * np.float32((1 << bits) - 1))
        elif bits == 16:
            answer[row : row + BAND_ROWS] = band.astype(np.uint16) * np.uint16(257)
        else:
            answer[row : row + BAND_ROWS] = (band.astype(np.uint32) + 128) // 257
    return answer


def white_of(pixels: NDArray[Any]) -> int:
    """Return the value of white: 255, 65535, or 1 for floats.

    >>> white_of(np.zeros(1, np.uint16)), white_of(np.zeros(1, np.float32))
    (65535, 1)
    """
    return 1 if pixels.dtype.kind == "f" else (1 << 8 * pixels.dtype.itemsize) - 1


def check_range(pixels: NDArray[Any]) -> None:
    """Raise UserError if float pixels are outside of [0, 1], with a small tolerance."""
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= FLOAT_RANGE[0] and high <= FLOAT_RANGE[1]):
        raise UserError(
            f"a float image must have values in [0, 1]; this one has {low:.3g} to {high:.3g}: scale it first"
        )


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8, so that the image is upright; ``BACK`` has the reverse orientations.

    >>> stored = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    >>> all(np.array_equal(turn(turn(stored, way), BACK.get(way, way)), stored) for way in range(1, 9))
    True
    """
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
