"""A picture in memory, and finding picture files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.images.formats import FORMATS, is_image_name

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


def to_depth(pixels: Pixels, bits: int) -> Pixels:
    """Change between 8 and 16 bits a channel, rounding; white stays white."""
    if pixels.dtype.itemsize * 8 == bits:
        return pixels
    if bits == 16:
        return pixels.astype(np.uint16) * np.uint16(257)
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
