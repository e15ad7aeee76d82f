"""A view of a TIFF file for tifffile that has only the tags that say how the pixels are stored.

tifffile interprets every tag and reports problems with it. All other tags are copied unchanged by this package.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from tfmlc.io.images.head import Content
from tfmlc.io.images.ifd import SIZES, Tags

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CODING = {  # baseline tags and tags of compressions, tiles, extra samples, number formats and volumes
    *(*range(254, 260), *range(262, 267), 273, *range(277, 281), 284, *range(292, 294), 297, 317, *range(320, 326)),
    *(332, 333, 334, 336, 338, 339, 340, 341, 343, 347, *range(512, 522), *range(529, 533)),
    *(32996, 32997, 32998, 50674),
}


class CodingTags(io.RawIOBase):
    """The bytes of a TIFF file in which each directory has only its coding tags; the file is not copied."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0
        self._patches = _patches(content)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        room = memoryview(buffer).cast("B")
        start, size = self._at, max(0, min(len(room), len(self._content) - self._at))
        room[:size] = self._content[start : start + size]
        for at, patch in self._patches:
            first, last = max(at, start), min(at + len(patch), start + size)
            if first < last:
                room[first - start : last - start] = patch[first - at : last - at]
        self._at += size
        return size


def _patches(content: Content) -> list[tuple[int, bytes]]:
    """Return the position of each directory and the bytes that replace it."""
    tags = Tags(content)
    count_letter, next_letter, width = ("Q", "Q", 20) if tags.is_big else ("H", "I", 12)
    found: dict[int, bytes] = {}
    for at, entries, following in tags.chain():
        kept = [entry.at for entry in entries if entry.tag in CODING and entry.kind in SIZES]
        raw = b"".join(bytes(content[place : place + width]) for place in kept)
        patch = struct.pack(tags.order + count_letter, len(kept)) + raw
        found[at] = patch + struct.pack(tags.order + next_letter, following)
    return [(at, patch[: len(content) - at]) for at, patch in found.items()]
