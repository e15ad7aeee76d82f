"""The tag directories (IFDs) of TIFF files and EXIF blocks: read leniently, changed in place.

Values are not interpreted: entries of an unknown type, or with a value that is cut off, are kept like all others.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from tfmlc.io.images.head import Content

EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER, MAKER_NOTE = 34665, 34853, 40965, 37500
FOLDERS = (EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER)
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD, LONG8, SLONG8, IFD8 = 1, 2, 3, 4, 5, 7, 13, 16, 17, 18
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
SLIM = {LONG8: LONG, SLONG8: 9, IFD8: IFD}  # types of BigTIFF, and those of classic TIFF that replace them
WIDTHS = {"H": 2, "I": 4, "Q": 8}
INTEGERS = {BYTE: "B", SHORT: "H", LONG: "I", IFD: "I", LONG8: "Q", IFD8: "Q"}
LAST_RESERVED = 60_000  # a maker note beyond this offset is moved, because EXIF in a JPEG is limited to 64 kB
ENTRY_BYTES, SPARE_BYTES, MOST_DIRECTORIES = 12, 1 << 20, 10_000
OVERLAP = "its tags claim more than it holds"
Order = Literal["<", ">"]


@dataclass(frozen=True)
class Entry:
    """One tag.

    Attributes:
        tag: Its number.
        kind: Its type.
        count: The number of values.
        data: The values, in the byte order of the block.
        at: The offset of the entry; 0 for a new entry.
        where: The offset of its values; 0 for a new entry.
        folder: The entries of the directory that the tag points to.
    """

    tag: int
    kind: int
    count: int
    data: bytes
    at: int = 0
    where: int = 0
    folder: tuple[Entry, ...] = ()


@dataclass
class Tags:
    """A view of a TIFF file or EXIF block, classic or BigTIFF. Raises ValueError if it has no TIFF header."""

    content: Content
    order: Order = field(init=False)
    is_big: bool = field(init=False)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        head = bytes(self.content[:16])
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = 0 if order is None else int.from_bytes(head[2:4], "little" if order == "<" else "big")
        if order not in ("<", ">") or version not in (42, 43) or len(head) < (16 if version == 43 else 8):
            raise ValueError("no TIFF header")
        self.order = order
        self.is_big = version == 43
        self.first = self._unpack("Q", 8) if self.is_big else self._unpack("I", 4)

    def directory(self, at: int) -> tuple[list[Entry], int]:
        """Return the entries of the directory at an offset that are complete, and the offset of the next directory."""
        head, width = (8, 20) if self.is_big else (2, 12)
        if not 8 <= at <= len(self.content) - head:
            return [], 0
        count = self._unpack("Q" if self.is_big else "H", at)
        room = (len(self.content) - at - head) // width
        found: list[Entry] = []
        left = self._most_bytes()
        for index in range(min(count, room)):
            found.append(self._entry(at + head + width * index))
            left -= len(found[-1].data)
            if left < 0:
                raise ValueError(OVERLAP)
        end = at + head + width * count
        there = end + head <= len(self.content) and count <= room
        return found, self._unpack("Q" if self.is_big else "I", end) if there and self._has(end) else 0

    def entries(self, at: int | None = None) -> list[Entry]:
        """Return the entries of the first directory, or of the one at an offset."""
        return self.directory(self.first if at is None else at)[0]

    def chain(self) -> Iterator[tuple[int, list[Entry], int]]:
        """Yield the first directory and those that follow it: the offset, the entries, and the offset of the next."""
        at, left, seen = self.first, self._most_bytes(), set[int]()
        while at and at not in seen and len(seen) < MOST_DIRECTORIES:
            seen.add(at)
            entries, following = self.directory(at)
            left -= sum(ENTRY_BYTES + len(entry.data) for entry in entries)
            if left < 0:
                raise ValueError(OVERLAP)
            yield at, entries, following
            at = following

    def find(self, *path: int) -> Entry | None:
        """Return an entry by its tag, after the tags of the directories that contain it; None if it is missing."""
        entries = self.entries()
        for depth, tag in enumerate(path, start=1):
            found = next((entry for entry in entries if entry.tag == tag), None)
            if found is None or depth == len(path):
                return found
            entries = self.entries(self.number(found) or 0)
        return None

    def numbers(self, entry: Entry | None) -> list[int]:
        """Return the values of an entry of integers; an empty list for other types."""
        letter = None if entry is None else INTEGERS.get(entry.kind)
        if entry is None or letter is None:
            return []
        return list(struct.unpack(f"{self.order}{len(entry.data) // SIZES[entry.kind]}{letter}", entry.data))

    def number(self, entry: Entry | None) -> int | None:
        """Return the first value of an entry of integers, or None."""
        return next(iter(self.numbers(entry)), None)

    def tree(self, at: int | None = None) -> list[Entry]:
        """Return the entries of a directory, with those of its EXIF, GPS and interoperability directories."""
        left = self._most_bytes()

        def read(at: int | None, depth: int) -> Iterator[Entry]:
            nonlocal left
            for entry in self.entries(at):
                left -= ENTRY_BYTES + len(entry.data)
                if left < 0:
                    raise ValueError(OVERLAP)
                is_folder = entry.tag in FOLDERS and depth < 2
                yield replace(entry, folder=tuple(read(self.number(entry) or 0, depth + 1)) if is_folder else ())

        return list(read(at, 0))

    def store(self, entry: Entry, value: int) -> None:
        """Change the value of an entry with one integer in place; the content must be a bytearray."""
        letter = INTEGERS.get(entry.kind)
        if letter is None or len(entry.data) != SIZES[entry.kind] or not isinstance(self.content, bytearray):
            return
        if value < 1 << 8 * SIZES[entry.kind]:
            struct.pack_into(self.order + letter, self.content, entry.where, value)

    def _entry(self, at: int) -> Entry:
        tag, kind = self._unpack("H", at), self._unpack("H", at + 2)
        count = self._unpack("Q" if self.is_big else "I", at + 4)
        inline, where = (8, at + 12) if self.is_big else (4, at + 8)
        size = SIZES.get(kind, inline if count else 0) * (count if kind in SIZES else 1)
        if size > inline:
            where = self._unpack("Q" if self.is_big else "I", where)
        data = bytes(self.content[where : where + size])
        return Entry(tag, kind, count, data[: len(data) // SIZES.get(kind, 1) * SIZES.get(kind, 1)], at, where)

    def _most_bytes(self) -> int:
        """Return a limit for the total size of directories and values, which can overlap."""
        return 2 * len(self.content) + SPARE_BYTES

    def _has(self, at: int) -> bool:
        return at + (8 if self.is_big else 4) <= len(self.content)

    def _unpack(self, letter: str, at: int) -> int:
        size = WIDTHS[letter]
        return int.from_bytes(self.content[at : at + size], "little" if self.order == "<" else "big")


def build(order: Order, entries: Iterable[Entry]) -> bytes:
    """Build a new block from entries and their directories.

    A maker note keeps its offset, because it can contain offsets. Types of BigTIFF become those of classic TIFF.
    """
    entries = list(entries)
    note = _maker_note(entries)
    reserved = (0, 0) if note is None or not keeps_maker_note(entries) else (note.where, note.where + len(note.data))
    block = bytearray(b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    struct.pack_into(order + "I", block, 4, _write(block, order, entries, reserved))
    return bytes(block)


def keeps_maker_note(entries: Iterable[Entry]) -> bool:
    """Whether ``build`` keeps the offset of the maker note of these entries, if there is one."""
    note = _maker_note(entries)
    return note is None or (note.where >= 8 and note.where + len(note.data) <= LAST_RESERVED)


def with_first(block: bytes, entries: Iterable[Entry], after: int) -> bytes:
    """Append another first directory to a block; it points to the next directory ``after``.

    Entries of the block keep their bytes, and so they point to the values that are already there.
    """
    order = Tags(block).order
    grown = bytearray(block) + bytes(len(block) % 2)
    struct.pack_into(order + "I", grown, 4, _write(grown, order, list(entries), (0, 0), after=after))
    return bytes(grown)


def _maker_note(entries: Iterable[Entry]) -> Entry | None:
    return next((inner for entry in entries for inner in entry.folder if inner.tag == MAKER_NOTE), None)


def _write(
    block: bytearray, order: Order, entries: list[Entry], reserved: tuple[int, int], *, after: int | None = None
) -> int:
    """Append a directory and its values to a block and return its offset."""
    known = after is not None  # values that are in the block already are referred to, not copied
    entries = sorted((entry for entry in entries if known or entry.folder or entry.tag not in FOLDERS), key=_tag)
    at = _room(block, 2 + 12 * len(entries) + 4, reserved)
    struct.pack_into(order + "H", block, at, len(entries))
    for place, entry in zip(range(at + 2, at + 2 + 12 * len(entries), 12), entries, strict=True):
        if known and entry.at:
            block[place : place + 12] = block[entry.at : entry.at + 12]
            continue
        kind, data = _slim(entry, order)
        size = len(data) if kind in SIZES else 0
        count = size // SIZES[kind] if kind in SIZES else entry.count  # less than entry.count if it is cut off
        struct.pack_into(order + "HHI", block, place, entry.tag, kind, count)
        if entry.folder:
            struct.pack_into(order + "I", block, place + 8, _write(block, order, list(entry.folder), reserved))
        elif size <= 4:
            block[place + 8 : place + 12] = data[:4].ljust(4, b"\0")
        else:
            kept = entry.where == reserved[0] and len(data) == reserved[1] - reserved[0]
            where = entry.where if kept else _room(block, size, reserved)
            block.extend(bytes(max(0, where + size - len(block))))
            block[where : where + len(data)] = data
            struct.pack_into(order + "I", block, place + 8, where)
    struct.pack_into(order + "I", block, at + 2 + 12 * len(entries), after or 0)
    return at


def _room(block: bytearray, size: int, reserved: tuple[int, int]) -> int:
    """Append space of a size after the reserved bytes and return its offset, which is even as TIFF requires."""
    at = len(block) + len(block) % 2
    if at < reserved[1] and at + size > reserved[0]:
        at = reserved[1] + reserved[1] % 2
    block.extend(bytes(at + size - len(block)))
    return at


def _tag(entry: Entry) -> int:
    return entry.tag


def _slim(entry: Entry, order: Order) -> tuple[int, bytes]:
    if entry.kind not in SLIM:
        return entry.kind, entry.data
    letters = {LONG8: "QI", SLONG8: "qi", IFD8: "QI"}[entry.kind]
    values = struct.unpack(f"{order}{len(entry.data) // 8}{letters[0]}", entry.data)
    if any(value >= 1 << 31 for value in values):
        return UNDEFINED, entry.data
    return SLIM[entry.kind], struct.pack(f"{order}{len(values)}{letters[1]}", *values)
