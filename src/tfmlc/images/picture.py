"""An image in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True)
class Picture:
    """A decoded picture: uint8 or uint16 ``h w c``, upright, and what travels with it.

    Channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. ``icc`` is the colour profile, ``exif`` the EXIF
    block without orientation (the pixels are already turned), ``resolution`` dots per inch, ``xmp`` the XMP packet.
    ``restored`` is the mark of an image that was restored here and must not be again: what restored it, in a word.
    """

    pixels: Pixels
    icc: bytes | None = None
    exif: bytes | None = None
    resolution: tuple[float, float] | None = None
    xmp: bytes | None = None
    restored: str | None = None

    @property
    def bits(self) -> int:
        """Bits a channel: 8 or 16."""
        return self.pixels.dtype.itemsize * 8

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same picture with other pixels."""
        return replace(self, pixels=pixels)


def to_depth(pixels: Pixels, bits: int) -> Pixels:
    """Change between 8 and 16 bits a channel, rounding; white stays white."""
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if bits == 16:
        return pixels.astype(np.uint16) * np.uint16(257)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
