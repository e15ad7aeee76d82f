"""The boxes of ISO base media files such as AVIF and HEIC: items, their properties and their positions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from tfmlc.io.images.image import left_behind

FULL_BOX_BYTES = 4  # version and flags
OF_ITEMS = (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide")  # boxes of a file that is only an image


@dataclass(frozen=True)
class Box:
    """A box: its type and where that stands, and the start and the end of its content."""

    kind: bytes
    kind_at: int
    start: int
    stop: int


@dataclass
class Items:
    """The items of an AVIF or HEIC file (ISO/IEC 23008-12).

    Attributes:
        content: The content of the file.
        types: The type of each item, by its number.
        places: The positions and sizes of each item's data, by its number.
        primary: The number of the primary image.
        properties: The properties of the primary image.
        auxiliary: The types of the auxiliary images.
    """

    content: bytes
    types: dict[int, bytes] = field(default_factory=dict[int, bytes])
    places: dict[int, list[tuple[int, int]]] = field(default_factory=dict[int, list[tuple[int, int]]])
    primary: int = 0
    properties: list[Box] = field(default_factory=list[Box])
    auxiliary: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        try:
            self._read()
        except (struct.error, IndexError):  # cut off: keep what was found
            return

    def data(self, kind: bytes) -> bytes | None:
        """Return the content of the first item of a type, or None."""
        number = next((number for number, named in self.types.items() if named == kind), None)
        places = [] if number is None else self.places.get(number, [])
        if not places or sum(size for _, size in places) > len(self.content):
            return None
        return b"".join(self.content[at : at + size] for at, size in places)

    def property(self, kind: bytes, begins: bytes = b"") -> bytes | None:
        """Return the content of the primary image's first property of a type and with a beginning, or None."""
        for box in self.properties:
            if box.kind == kind and self.content.startswith(begins, box.start):
                return self.content[box.start : box.stop]
        return None

    def exif(self) -> bytes | None:
        """Return the EXIF block from its TIFF header on, after an offset of four bytes (Annex A.2.1); or None."""
        item = self.data(b"Exif")
        return None if item is None or len(item) < 4 else item[4 + int.from_bytes(item[:4]) :] or None

    def xmp(self) -> bytes | None:
        """Return the XMP packet, or None."""
        return self.data(b"mime")

    def icc(self) -> bytes | None:
        """Return the colour profile of the primary image, or None."""
        profile = self.property(b"colr", b"prof") or self.property(b"colr", b"rICC")
        return None if profile is None else profile[4:]

    def cicp(self) -> tuple[int, int, int, int] | None:
        """Return colour primaries, transfer, matrix and range as numbered in ITU-T H.273, or None."""
        colours = self.property(b"colr", b"nclx")
        if colours is None or len(colours) < 11:
            return None
        primaries, transfer, matrix = struct.unpack_from(">HHH", colours, 4)
        return primaries, transfer, matrix, colours[10] >> 7

    def others(self, name: str) -> tuple[str, ...]:
        """Return lines about what a file of a format holds beside its items, such as the video of a moving photo."""
        found = list(boxes(self.content))
        kinds = dict.fromkeys(box.kind.decode("latin-1") for box in found if box.kind not in OF_ITEMS)
        stop = found[-1].stop if found else 0
        return (*(f"the box {kind} is left out" for kind in kinds), *left_behind(self.content, stop, name))

    def without_metadata(self) -> bytes:
        """Return the content with no metadata linked to an image, for decoders that would read texts of any bytes."""
        content = bytearray(self.content)
        found = list(boxes(self.content))
        for kind in (b"meta", b"iref"):
            full = [box for box in found if box.kind == kind]
            found = [part for box in full for part in boxes(self.content, box.start + FULL_BOX_BYTES, box.stop)]
        for link in found:
            if link.kind == b"cdsc":
                content[link.kind_at : link.kind_at + 4] = b"none"
        return bytes(content)

    def _read(self) -> None:
        meta = next((box for box in boxes(self.content) if box.kind == b"meta"), None)
        if meta is None:
            return
        inner = {box.kind: box for box in boxes(self.content, meta.start + FULL_BOX_BYTES, meta.stop)}
        if (box := inner.get(b"pitm")) is not None:
            wide = self.content[box.start] > 0
            self.primary = self._number(box.start + FULL_BOX_BYTES, 4 if wide else 2)
        if (box := inner.get(b"iinf")) is not None:
            self._read_types(box)
        if (box := inner.get(b"iloc")) is not None:
            idat = inner.get(b"idat")
            self._read_places(box, 0 if idat is None else idat.start)
        if (box := inner.get(b"iprp")) is not None:
            self._read_properties(box)

    def _read_types(self, box: Box) -> None:
        wide = self.content[box.start] > 0
        for entry in boxes(self.content, box.start + FULL_BOX_BYTES + (4 if wide else 2), box.stop):
            version = self.content[entry.start]
            if entry.kind == b"infe" and version >= 2:
                size = 2 if version == 2 else 4
                at = entry.start + FULL_BOX_BYTES
                self.types[self._number(at, size)] = self.content[at + size + 2 : at + size + 6]

    def _read_places(self, box: Box, idat: int) -> None:
        """Read the item locations (ISO/IEC 14496-12, 8.11.3)."""
        version, at = self.content[box.start], box.start + FULL_BOX_BYTES
        sizes = self._number(at, 2)
        offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version == 2 else 2
        count, at = self._number(at + 2, wide), at + 2 + wide
        for _ in range(count):
            number, at = self._number(at, wide), at + wide
            method = self._number(at, 2) & 15 if version in (1, 2) else 0
            at += (2 if version in (1, 2) else 0) + 2
            base, at = self._number(at, base_size), at + base_size
            extents, at = self._number(at, 2), at + 2
            extents = extents if offset_size + length_size else min(extents, 1)  # without sizes they are all equal
            found: list[tuple[int, int]] = []
            for _ in range(extents):
                at += index_size if version in (1, 2) else 0
                offset, size = self._number(at, offset_size), self._number(at + offset_size, length_size)
                at += offset_size + length_size
                found.append((base + offset + (idat if method == 1 else 0), size))
            if method <= 1:
                self.places[number] = found

    def _read_properties(self, box: Box) -> None:
        inner = list(boxes(self.content, box.start, box.stop))
        held = [prop for part in inner if part.kind == b"ipco" for prop in boxes(self.content, part.start, part.stop)]
        for prop in held:
            if prop.kind == b"auxC":
                self.auxiliary.append(self.content[prop.start + FULL_BOX_BYTES : prop.stop].split(b"\0")[0])
        for part in inner:
            if part.kind == b"ipma":
                for index in self._associated(part):
                    self.properties += held[index - 1 : index] if index else []

    def _associated(self, box: Box) -> Iterator[int]:
        version, flags = self.content[box.start], self._number(box.start + 1, 3)
        count, at = self._number(box.start + 4, 4), box.start + 8
        wide, each = 4 if version else 2, 2 if flags & 1 else 1
        for _ in range(count):
            number, many = self._number(at, wide), self.content[at + wide]
            at += wide + 1
            for _ in range(many):
                if number == self.primary:
                    yield self._number(at, each) & (0x7FFF if each == 2 else 0x7F)
                at += each

    def _number(self, at: int, size: int) -> int:
        if at + size > len(self.content):
            raise IndexError
        return int.from_bytes(self.content[at : at + size])


def boxes(content: bytes, start: int = 0, stop: int | None = None) -> Iterator[Box]:
    r"""Yield the boxes between two offsets that are complete.

    >>> [box.kind for box in boxes(b"\0\0\0\x08free\0\0\0\x0cmdatabcd")]
    [b'free', b'mdat']
    """
    stop = len(content) if stop is None else min(stop, len(content))
    while start + 8 <= stop:
        size, head = int.from_bytes(content[start : start + 4]), 8
        if size == 1:
            size, head = int.from_bytes(content[start + 8 : start + 16]), 16
        size = stop - start if size == 0 else size
        if size < head or start + size > stop:
            return
        yield Box(content[start + 4 : start + 8], start + 4, start + head, start + size)
        start += size
