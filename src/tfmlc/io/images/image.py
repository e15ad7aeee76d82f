"""An image in memory: its pixels, and everything that its file said of them."""

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
FLOAT_RANGE = (-0.01, 1.01)  # what rounding and resampling may add to [0, 1]


@dataclass(frozen=True)
class Part:
    """A piece of a file that only its own format has room for, as it lies there: a PNG chunk, a JPEG segment.

    ``at`` is where its content began in the file, for pieces that hold offsets.
    """

    format: str
    name: str
    data: bytes
    at: int = 0


@dataclass(frozen=True)
class Source:
    """What the file that an image was read from was like: what is written back in kind."""

    format: str
    is_lossless: bool
    size: tuple[int, int]  # width and height, upright
    bits: int = 8
    sample: Sample = "uint"
    orientation: int = 1
    premultiplied: bool = False
    extra_kinds: tuple[int, ...] = ()  # of the planes in Image.extra, as TIFF numbers them


@dataclass(frozen=True)
class Image:
    """A decoded image: uint8, uint16 or float32 in [0, 1], ``h w c``, upright, and what travels with it.

    Channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; alpha is straight, colours are not multiplied by it.
    ``icc`` is the colour profile. ``exif`` is the EXIF block as it was in the file, from its TIFF header on; only the
    orientation in it is 1, for the pixels are already turned. ``resolution`` is in dots per inch, ``xmp`` the XMP
    packet. ``restored`` is the mark of an image that was restored here and must not be again: what restored it, in a
    word. ``iptc`` holds IPTC records, ``photoshop`` Photoshop's image resources, ``cicp`` the colour primaries,
    transfer, matrix and range by their numbers in ITU-T H.273. ``extra`` are planes that are neither colour nor alpha,
    ``h w n``. ``parts`` go only into a file of their own format. ``notes`` tell what reading has changed already,
    ``changed`` whether the pixels are no longer those of the file.
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
    changed: bool = False

    @property
    def bits(self) -> int:
        """Bits a channel: 8, 16, or 32 for float."""
        return self.pixels.dtype.itemsize * 8

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    def with_pixels(self, pixels: Pixels) -> Image:
        """The same image with other pixels."""
        return replace(self, pixels=pixels, changed=True)

    def parts_of(self, format_name: str) -> list[Part]:
        """The parts that only a file of this format has room for."""
        return [part for part in self.parts if part.format == format_name]


def to_depth(pixels: Pixels, bits: int) -> Pixels:
    """Change between 8 and 16 bits a channel, and from float in [0, 1] to these, rounding; white stays white.

    Raises UserError for float values that are not in [0, 1].
    """
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if pixels.dtype == np.float32:
        check_range(pixels)
    answer = np.empty(pixels.shape, np.uint8 if bits == 8 else np.uint16)
    for row in range(0, len(pixels), BAND_ROWS):  # by bands, so that no wider copy of the whole image is made
        band = pixels[row : row + BAND_ROWS]
        if pixels.dtype == np.float32:
            answer[row : row + BAND_ROWS] = np.rint(np.clip(band, 0, 1) * np.float32((1 << bits) - 1))
        elif bits == 16:
            answer[row : row + BAND_ROWS] = band.astype(np.uint16) * np.uint16(257)
        else:
            answer[row : row + BAND_ROWS] = (band.astype(np.uint32) + 128) // 257
    return answer


def white_of(pixels: NDArray[Any]) -> int:
    """The value of white: 255, 65535, or 1 for float.

    >>> white_of(np.zeros(1, np.uint16)), white_of(np.zeros(1, np.float32))
    (65535, 1)
    """
    return 1 if pixels.dtype.kind == "f" else (1 << 8 * pixels.dtype.itemsize) - 1


def check_range(pixels: NDArray[Any]) -> None:
    """Raise UserError where float pixels are not in [0, 1], up to what rounding and resampling add."""
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (low >= FLOAT_RANGE[0] and high <= FLOAT_RANGE[1]):
        raise UserError(f"a float image has values in [0, 1]; this one has {low:.3g} to {high:.3g}: scale it first")


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8: the pixels as they are to be seen. The orientation in ``BACK`` reverses it.

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
