"""The header of an image file: its size and metadata, without the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol, overload


@dataclass(frozen=True)
class Head:
    """The header of an image file.

    Attributes:
        width: The width, as stored.
        height: The height, as stored.
        bytes_per_px: The memory per decoded pixel.
        exif: The EXIF block.
        xmp: The XMP packet.
        orientation: The orientation of a container that has its own; it replaces those in EXIF and XMP.
    """

    width: int
    height: int
    bytes_per_px: int = 4
    exif: bytes | None = None
    xmp: bytes | None = None
    orientation: int | None = None


class Content(Protocol):
    """The bytes of a file, in memory or read on demand."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> bytes | bytearray: ...


class FileBytes:
    """The bytes of an open file, read on demand."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> bytes: ...
    def __getitem__(self, index: int | slice, /) -> int | bytes:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start, stop, _ = index.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))
