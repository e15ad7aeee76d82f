"""EXIF blocks: they are copied unchanged, except for orientation, size and thumbnail, which are changed in place."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace

from tfmlc.io.images.ifd import (
    ENTRY_BYTES,
    EXIF_FOLDER,
    INTEROP_FOLDER,
    MAKER_NOTE,
    RATIONAL,
    SHORT,
    Entry,
    Tags,
    build,
    keeps_maker_note,
    with_first,
)

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x0112, 0x011A, 0x011B, 0x0128
THUMBNAIL_AT, THUMBNAIL_BYTES = 0x0201, 0x0202
WIDTHS_AND_HEIGHTS = (  # paths to tags that repeat the image's size
    ((0x0100,), (0x0101,)),
    ((EXIF_FOLDER, 0xA002), (EXIF_FOLDER, 0xA003)),
    ((EXIF_FOLDER, INTEROP_FOLDER, 0x1001), (EXIF_FOLDER, INTEROP_FOLDER, 0x1002)),
)
NAMES = {
    MAKER_NOTE: "the camera's maker note",
    0xC4A5: "print image matching",
    0x8649: "Photoshop data",
    0x935C: "Photoshop layers",
    0x010E: "the description",
    0x9286: "the user comment",
}
MAKER_NOTE_MOVED = "the camera's maker note was moved: its offsets can be wrong"
UNREADABLE = "an EXIF block that cannot be read is left out"
MOST_NAMED = 20  # entries that are listed when they are left out
PREFIX = b"Exif\0\0"


def without_prefix(block: bytes | None) -> bytes | None:
    """Return an EXIF block from its TIFF header on, without the prefix of a container; None if there is no block."""
    while block is not None and block.startswith(PREFIX):
        block = block[len(PREFIX) :]
    return block or None


def orientation_of(block: bytes | None) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if it is missing or not valid."""
    tags = _tags(block)
    value = None if tags is None else tags.number(tags.find(ORIENTATION))
    return value if value is not None and 1 <= value <= 8 else 1


def is_readable(block: bytes | None) -> bool:
    """Whether the block has a valid header, which AVIF and TIFF require."""
    return _tags(block) is not None


def has_orientation(block: bytes | None) -> bool:
    """Whether the block has an orientation, valid or not."""
    tags = _tags(block)
    return tags is not None and tags.find(ORIENTATION) is not None


def resolution_of(block: bytes | None) -> tuple[float, float] | None:
    """Return the resolution in dots per inch, horizontal and vertical; None if it is missing or not valid."""
    tags = _tags(block)
    if tags is None:
        return None
    unit = {2: 1.0, 3: 2.54}.get(tags.number(tags.find(RESOLUTION_UNIT)) or 2)
    across, down = (_rational(tags, tag) for tag in (X_RESOLUTION, Y_RESOLUTION))
    return None if unit is None or not across or not down else (across * unit, down * unit)


def with_orientation(block: bytes, orientation: int, *, swap: bool = False) -> bytes:
    """Set the orientation in a block; ``swap`` also exchanges width and height."""
    changed = bytearray(block)
    tags = _tags(changed)
    if tags is None:
        return block
    if (entry := tags.find(ORIENTATION)) is not None:
        tags.store(entry, orientation)
    if swap:
        for across, down in WIDTHS_AND_HEIGHTS:
            _store_size(tags, across, down, lambda width, height: (height, width))
        _swap_values(tags, changed)
    return bytes(changed)


def with_size(block: bytes, width: int, height: int) -> bytes:
    """Set the size of the image in the tags that repeat it, if the block has them."""
    changed = bytearray(block)
    tags = _tags(changed)
    if tags is None:
        return block
    for across, down in WIDTHS_AND_HEIGHTS:
        _store_size(tags, across, down, lambda _width, _height: (width, height))
    return bytes(changed)


def with_thumbnail(block: bytes, make: Callable[[int], bytes | None]) -> tuple[bytes, bool]:
    """Replace the thumbnail in a block by a new one of at most the same size.

    A thumbnail that is not a JPEG, or for which there is too little space, is erased.

    Args:
        block: The block.
        make: Makes the new thumbnail; it gets the number of bytes that are available.

    Returns:
        The block, and whether it has a thumbnail as before.
    """
    changed = bytearray(block)
    tags = _tags(changed)
    entries, second = ([], 0) if tags is None or tags.is_big else tags.directory(tags.first)
    if tags is None or not second:
        return block, True
    by_tag = {entry.tag: entry for entry in tags.entries(second)}
    at, size = (tags.number(by_tag.get(tag)) or 0 for tag in (THUMBNAIL_AT, THUMBNAIL_BYTES))
    whole = at >= 8 and size and at + size <= len(block) and block[at : at + 2] == b"\xff\xd8"
    new = make(size) if whole else None
    if whole:
        changed[at : at + size] = (new or b"").ljust(size, b"\0")
    if new is None:
        struct.pack_into(tags.order + "I", changed, tags.first + 2 + 12 * len(entries), 0)
    else:
        tags.store(by_tag[THUMBNAIL_BYTES], len(new))
        if (turned := by_tag.get(ORIENTATION)) is not None:
            tags.store(turned, 1)
    return bytes(changed), new is not None


def with_resolution(block: bytes | None, resolution: tuple[float, float]) -> bytes:
    """Add a resolution in dots per inch to a block that has none; a missing block is created."""
    order = "<" if (tags := _tags(block)) is None else tags.order
    across, down = (struct.pack(f"{order}II", round(value * 1000), 1000) for value in resolution)
    added = [
        Entry(X_RESOLUTION, RATIONAL, 1, across),
        Entry(Y_RESOLUTION, RATIONAL, 1, down),
        Entry(RESOLUTION_UNIT, SHORT, 1, struct.pack(f"{order}H", 2)),
    ]
    if tags is None or block is None:
        return build(order, added)
    entries, following = tags.directory(tags.first)
    if {X_RESOLUTION, Y_RESOLUTION} & {entry.tag for entry in entries}:
        return block
    return with_first(block, [*entries, *added], following)


def within(block: bytes, most_bytes: int) -> tuple[bytes | None, list[str], list[str]]:
    """Reduce a block to a size by leaving out the thumbnail and then the largest entries.

    Also returns the names of what was left out, and lines about other changes.
    """
    if len(block) <= most_bytes:
        return block, [], []
    tags = _tags(block)
    if tags is None:
        return None, ["an EXIF block that cannot be read"], []
    entries = tags.tree()
    lost = ["the EXIF thumbnail"] if tags.directory(tags.first)[1] else []
    while (excess := len(small := build(tags.order, entries)) - most_bytes) > 0:
        left_out: list[Entry] = []
        for largest in sorted(_leaves(entries), key=lambda entry: -len(entry.data)):
            left_out.append(largest)
            excess -= ENTRY_BYTES + len(largest.data)
            if excess <= 0:
                break
        lost += [f"{NAMES.get(one.tag, f'EXIF tag {one.tag}')} ({len(one.data) // 1000} kB)" for one in left_out]
        entries = _without(entries, {id(entry) for entry in left_out})
    lost = lost if len(lost) <= MOST_NAMED else [*lost[:MOST_NAMED], f"{len(lost) - MOST_NAMED} more EXIF entries"]
    return small, lost, [] if keeps_maker_note(entries) else [MAKER_NOTE_MOVED]


def _leaves(entries: Iterable[Entry]) -> list[Entry]:
    return [leaf for entry in entries for leaf in (_leaves(entry.folder) if entry.folder else [entry])]


def _without(entries: Iterable[Entry], left_out: set[int]) -> list[Entry]:
    kept = [entry for entry in entries if id(entry) not in left_out]
    return [replace(entry, folder=tuple(_without(entry.folder, left_out))) if entry.folder else entry for entry in kept]


def _tags(block: bytes | bytearray | None) -> Tags | None:
    try:
        return None if block is None else Tags(block)
    except ValueError:
        return None


def _rational(tags: Tags, tag: int) -> float | None:
    entry = tags.find(tag)
    if entry is None or entry.kind != RATIONAL or len(entry.data) < 8:
        return None
    above, below = struct.unpack_from(f"{tags.order}II", entry.data)
    return above / below if above and below else None


def _store_size(
    tags: Tags, across: tuple[int, ...], down: tuple[int, ...], change: Callable[[int, int], tuple[int, int]]
) -> None:
    entries = tags.find(*across), tags.find(*down)
    values = tags.number(entries[0]), tags.number(entries[1])
    if entries[0] is None or entries[1] is None or values[0] is None or values[1] is None:
        return
    for entry, value in zip(entries, change(values[0], values[1]), strict=True):
        if entry is not None:
            tags.store(entry, value)


def _swap_values(tags: Tags, changed: bytearray) -> None:
    first, second = tags.find(X_RESOLUTION), tags.find(Y_RESOLUTION)
    if first is None or second is None or len(first.data) != len(second.data) or first.kind != second.kind:
        return
    changed[first.where : first.where + len(first.data)] = second.data
    changed[second.where : second.where + len(second.data)] = first.data
