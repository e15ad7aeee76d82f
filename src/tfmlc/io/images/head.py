"""What the head of an image file says, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol, overload


@dataclass(frozen=True)
class Head:
    """Size as stored, bytes a pixel takes once decoded, and the metadata that tell how the image is to be seen.

    ``orientation`` is given by containers that have their own; then EXIF and XMP are not asked.
    """

    width: int
    height: int
    bytes_per_px: int = 4
    exif: bytes | None = None
    xmp: bytes | None = None
    orientation: int | None = None


class Content(Protocol):
    """The bytes of a file, held or read where they are asked for."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> bytes | bytearray: ...


class FileBytes:
    """The bytes of an open file, read slice by slice."""

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
