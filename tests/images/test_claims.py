"""What a file claims costs no more than what it holds: counts, offsets and sizes in it may be anything."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from round_trip.blocks import LONG, UNDEFINED, Tag, directory
from round_trip.sources import scene, tiff
from tfmlc.errors import UserError
from tfmlc.io.images import read_image
from tfmlc.io.images.boxes import Items
from tfmlc.io.images.exif import within
from tfmlc.io.images.formats import kind_of_bytes
from tfmlc.io.images.ifd import EXIF_FOLDER, Tags
from tfmlc.io.images.png import scan
from tfmlc.io.images.pngtext import profile_of
from tfmlc.io.images.tiffpages import CodingTags
from tfmlc.io.images.webp import chunks_of

HEAD = b"II*\0\x08\0\0\0"


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def avif_with(places: bytes) -> Items:
    entry = box(b"infe", b"\2\0\0\0" + struct.pack(">HH4s", 1, 0, b"Exif") + b"\0")
    inner = box(b"iinf", bytes(4) + struct.pack(">H", 1) + entry) + box(b"iloc", bytes(4) + places)
    return Items(box(b"ftyp", b"avif\0\0\0\0avif") + box(b"meta", bytes(4) + inner))


def test_parts_of_an_item_that_have_no_place_are_not_counted() -> None:
    items = avif_with(struct.pack(">HH", 0, 50) + b"".join(struct.pack(">HHH", n, 0, 0xFFFF) for n in range(50)))
    assert [len(places) for places in items.places.values()] == [1] * 50


def test_an_item_is_no_larger_than_its_file() -> None:
    parts = b"".join(struct.pack(">II", 0, 60) for _ in range(1000))
    assert avif_with(struct.pack(">HHHHH", 0x4400, 1, 1, 0, 1000) + parts).exif() is None
    assert avif_with(struct.pack(">HHHHH", 0x4400, 1, 1, 0, 1) + struct.pack(">II", 0, 60)).data(b"Exif") is not None


def test_folders_of_an_exif_block_that_hold_themselves() -> None:
    entries = struct.pack("<HHII", EXIF_FOLDER, LONG, 1, 8) * 300
    tags = Tags(HEAD + struct.pack("<H", 300) + entries + bytes(4))
    with pytest.raises(ValueError, match="claim more than it holds"):
        tags.tree()


def test_values_that_share_their_bytes_without_end() -> None:
    entries = b"".join(struct.pack("<HHII", 60_000 + n, UNDEFINED, 4 << 20, 8) for n in range(1000))
    tags = Tags(HEAD + struct.pack("<H", 1000) + entries + bytes(4 << 20))
    with pytest.raises(ValueError, match="claim more than it holds"):
        tags.entries()


def test_directories_of_a_tiff_that_overlap() -> None:
    chain = b"".join(struct.pack("<HHIHH", 2000, 1, 0, 0, 0) for _ in range(4000))
    content = bytearray(HEAD + chain + bytes(24_010))
    for at in range(8, 8 + 12 * 1500, 12):  # each directory goes on over the next ones
        struct.pack_into("<I", content, at + 2 + 12 * 2000, at + 12)
        struct.pack_into("<H", content, at, 2000)
    with pytest.raises(ValueError, match="claim more than it holds"):
        CodingTags(bytes(content))


@pytest.mark.parametrize("height", [96, 1 << 24])
def test_a_tiff_that_names_fewer_strips_than_it_has(tmp_path: Path, height: int) -> None:
    content = bytearray(imagecodecs.zlib_encode(scene(np.uint8, 1).tobytes()))
    shape = ((256, 80), (257, height), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1), (278, 48), (279, len(content)))
    content += bytes(len(content) % 2)
    entries = [Tag(tag, LONG, struct.pack("<I", value)) for tag, value in shape]
    start = 8 + len(content)
    whole = b"II*\0" + struct.pack("<I", start) + content + directory(entries, start, "<")
    (tmp_path / "a.tif").write_bytes(whole)
    with pytest.raises(UserError, match=f"it names 1 of its {-(-height // 48)} strips or tiles"):
        read_image(tmp_path / "a.tif")


def test_a_block_of_many_small_entries_is_made_smaller_at_once() -> None:
    tags = [Tag(n, UNDEFINED, bytes(8)) for n in range(40_000, 60_000)]
    block = HEAD + directory(tags, 8, "<")
    small, lost, _ = within(block, 60_000)
    assert small is not None
    assert 50_000 < len(small) <= 60_000
    assert len(lost) == 21
    assert lost[-1].endswith("more EXIF entries")


def test_a_jpeg_that_ends_in_erased_memory(tmp_path: Path) -> None:
    """Memory cards are erased to 0xFF, and photos that were recovered from them end so."""
    content = imagecodecs.jpeg8_encode(scene(np.uint8, 3))
    for end in (b"", b"\0"):
        (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2] + b"\xff" * 1_000_000 + end)
        with pytest.raises(UserError, match="damaged or cut off"):
            read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(content + b"\xff" * 1_000_000)
    assert read_image(tmp_path / "a.jpg").pixels.shape == (48, 80, 3)


def test_empty_memory_holds_no_chunks() -> None:
    png = imagecodecs.png_encode(scene(np.uint8, 3))
    assert len(scan(png[:60] + bytes(1_000_000))[0]) <= 2
    webp = imagecodecs.webp_encode(scene(np.uint8, 3))
    assert len(chunks_of(webp + bytes(1_000_000))) == len(chunks_of(webp))


def test_texts_that_match_in_many_ways() -> None:
    assert kind_of_bytes(b"<!-- -->" * 500 + b"no element") is None
    assert kind_of_bytes(b" " * 4000 + b"no element") is None
    assert profile_of(b"Raw profile type exif", b"\n" * 1_000_000) is None
    assert profile_of(b"Raw profile type exif", b"\n1 " + b"\n" * 1_000_000 + b"x") is None


def test_a_png_with_a_wrong_bit_is_refused(tmp_path: Path) -> None:
    pixels = np.full((24, 32, 3), 77, np.uint8)
    content = imagecodecs.png_encode(pixels)
    first = content.index(b"IDAT")
    for at in range(first, len(content) - 12):
        changed = bytearray(content)
        changed[at] ^= 16
        (tmp_path / "a.png").write_bytes(changed)
        with pytest.raises(UserError, match="damaged"):
            read_image(tmp_path / "a.png")


def test_decoders_print_nothing(tmp_path: Path) -> None:
    content = bytearray(tiff(scene(np.uint8, 3), 2))
    at = content.index(struct.pack("<HHI", 284, 3, 1))
    content[at + 8 : at + 10] = b"\x01\x5b"  # no way of lying that there is
    (tmp_path / "a.tif").write_bytes(content)
    code = f"from tfmlc.io.images import read_image; read_image({str(tmp_path / 'a.tif')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
