"""An EXIF block is handed on as it was; only what would be untrue of the new pixels is changed, where it lies."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from round_trip.blocks import ARTIST, MAKER_NOTE, SHORT, UNDEFINED, Tag, directory, exif_block, photo_tags
from round_trip.sources import scene
from tfmlc.io.images import Image, read_image, write_image

SUFFIXES = (".jpg", ".png", ".webp", ".avif")  # hold a block; in a TIFF its tags are those of the file
PIXELS = scene(np.uint8, 3)
HEADS = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}


def block_of(tags: list[Tag], order: str = ">") -> bytes:
    return HEADS[order] + directory(tags, 8, order)


def jpeg_with(block: bytes, pixels: np.ndarray = PIXELS) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", quality=95, exif=b"Exif\0\0" + block)
    return buffer.getvalue()


def copied(tmp_path: Path, block: bytes, suffix: str) -> tuple[bytes, list[str]]:
    """A block after a JPEG that has it was read and written in another format, and what was said."""
    (tmp_path / "in.jpg").write_bytes(jpeg_with(block))
    notes = write_image(tmp_path / f"out{suffix}", read_image(tmp_path / "in.jpg"))
    found = read_image(tmp_path / f"out{suffix}").exif
    assert found is not None
    assert found in (tmp_path / f"out{suffix}").read_bytes()
    return found, notes


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_block_stays_byte_for_byte(tmp_path: Path, suffix: str, order: str) -> None:
    block = block_of(photo_tags(80, 48, order), order)
    assert copied(tmp_path, block, suffix) == (block, [])


def differences(one: bytes, other: bytes) -> list[int]:
    assert len(one) == len(other)
    return [at for at in range(len(one)) if one[at] != other[at]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_a_turned_photo_only_orientation_sizes_and_thumbnail_change(tmp_path: Path, suffix: str) -> None:
    block = exif_block(PIXELS, orientation=6)
    found, notes = copied(tmp_path, block, suffix)
    assert notes == []
    tags = block.find(b"\x01\x12\x00\x03"), block.find(b"\xa0\x02\x00\x04"), block.find(b"\xa0\x03\x00\x04")
    dpi = [int.from_bytes(block[block.find(struct.pack(">HHI", tag, 5, 1)) + 8 :][:4]) for tag in (0x011A, 0x011B)]
    allowed = {tags[0] + 9, tags[1] + 11, tags[2] + 11, *range(dpi[0], dpi[0] + 8), *range(dpi[1], dpi[1] + 8)}
    small = block.find(b"\xff\xd8")
    size = block.find(b"\x02\x02\x00\x04") + 8
    assert set(differences(block, found)) <= allowed | {*range(small, len(block)), *range(size, size + 4)}
    assert found[tags[0] + 9] == 1
    assert (found[tags[1] + 11], found[tags[2] + 11]) == (48, 80)


def test_a_thumbnail_shows_the_new_pixels(tmp_path: Path) -> None:
    photo = np.repeat(np.repeat(PIXELS, 8, axis=0), 8, axis=1)
    (tmp_path / "in.jpg").write_bytes(jpeg_with(exif_block(photo, orientation=6), photo))
    image = read_image(tmp_path / "in.jpg")
    for changed, name in ((image.pixels, "same.jpg"), (255 - image.pixels, "other.jpg")):
        assert write_image(tmp_path / name, image.with_pixels(changed)) == []
        block = read_image(tmp_path / name).exif
        assert block is not None
        small = np.asarray(Pillow.open(io.BytesIO(block[block.find(b"\xff\xd8") :])), np.float64)
        assert small.shape == (160, 96, 3)
        wanted = np.asarray(Pillow.fromarray(changed).resize((96, 160)), np.float64)
        assert np.abs(small - wanted).mean() < 12


def test_a_thumbnail_without_room_is_said_to_be_left_out(tmp_path: Path) -> None:
    block = exif_block(PIXELS)
    at = block.find(b"\xff\xd8")
    size = block.find(b"\x02\x02\x00\x04") + 8
    small = block[:size] + struct.pack(">I", 40) + block[size + 4 : at + 40]  # 40 bytes hold no JPEG
    (tmp_path / "in.jpg").write_bytes(jpeg_with(small))
    image = read_image(tmp_path / "in.jpg")
    notes = write_image(tmp_path / "out.jpg", image.with_pixels(image.pixels))
    assert notes == ["the EXIF thumbnail is left out: the new one needs more space"]
    found = read_image(tmp_path / "out.jpg").exif
    assert found is not None
    assert found[at:] == bytes(40)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(3, "H"), (4, "I"), (1, "B")])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_of_any_whole_number_type(
    tmp_path: Path, order: str, kind: int, letter: str, orientation: int
) -> None:
    block = block_of([Tag(0x0112, kind, struct.pack(order + letter, orientation))], order)
    (tmp_path / "in.jpg").write_bytes(jpeg_with(block))
    image = read_image(tmp_path / "in.jpg")
    turns = {3: 2, 6: -1, 8: 1}[orientation]
    assert np.abs(image.pixels.astype(int) - np.rot90(PIXELS, turns)).mean() < 4
    assert image.exif == block_of([Tag(0x0112, kind, struct.pack(order + letter, 1))], order)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_there_is_not_turns_nothing(tmp_path: Path, orientation: int) -> None:
    block = block_of([Tag(0x0112, SHORT, struct.pack(">H", orientation))])
    (tmp_path / "in.jpg").write_bytes(jpeg_with(block))
    assert np.abs(read_image(tmp_path / "in.jpg").pixels.astype(int) - PIXELS).mean() < 4


def malformed() -> dict[str, bytes]:
    whole = block_of(photo_tags(80, 48))
    first = int.from_bytes(whole[4:8])
    entries = int.from_bytes(whole[first : first + 2])
    following = first + 2 + 12 * entries
    looping = whole[:following] + struct.pack(">I", first) + whole[following + 4 :]
    far = bytearray(whole)
    artist = whole.find(struct.pack(">HH", 0x013B, 2))
    far[artist + 8 : artist + 12] = b"\x7f\xff\xff\xff"
    many = bytearray(whole)
    many[artist + 4 : artist + 8] = b"\xff\xff\xff\xff"
    return {
        "cut off": whole[: len(whole) - 30],
        "cut off in its directory": whole[: first + 30],
        "next directory is the first": looping,
        "a value beyond the end": bytes(far),
        "four billion values": bytes(many),
        "more entries than there are": whole[:first] + b"\xff\xff" + whole[first + 2 :],
        "no TIFF header": b"junk" * 9,
        "header alone": whole[:8],
        "first directory beyond the end": b"MM\0*\x7f\xff\xff\xff" + bytes(9),
    }


@pytest.mark.parametrize("name", malformed())
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_malformed_block_stays_as_it_is(tmp_path: Path, suffix: str, name: str) -> None:
    block = malformed()[name]
    (tmp_path / "in.jpg").write_bytes(jpeg_with(block))
    notes = write_image(tmp_path / f"out{suffix}", read_image(tmp_path / "in.jpg"))
    assert block in (tmp_path / f"out{suffix}").read_bytes() or any("EXIF" in note for note in notes)


@pytest.mark.parametrize("name", malformed())
def test_a_malformed_block_ends_no_tiff(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.jpg").write_bytes(jpeg_with(malformed()[name]))
    image = read_image(tmp_path / "in.jpg")
    write_image(tmp_path / "out.tif", image)
    assert np.array_equal(read_image(tmp_path / "out.tif").pixels, image.pixels)


def test_a_block_of_more_than_64_kilobytes_loses_its_largest_entries_by_name(tmp_path: Path) -> None:
    tags = [*photo_tags(80, 48), Tag(0xC4A5, UNDEFINED, bytes(3000)), Tag(0xFDE8, UNDEFINED, bytes(70_000))]
    block = block_of(tags)
    notes = write_image(tmp_path / "out.jpg", Image(PIXELS, exif=block))
    assert notes == ["JPEG cannot store EXIF tag 65000 (70 kB)"]
    found = read_image(tmp_path / "out.jpg").exif
    assert found is not None
    assert len(found) < 65_536
    assert found.find(MAKER_NOTE) == block.find(MAKER_NOTE)
    assert ARTIST in found
    assert write_image(tmp_path / "out.png", Image(PIXELS, exif=block)) == []
    assert read_image(tmp_path / "out.png").exif == block


def test_a_maker_note_that_has_to_move_is_said(tmp_path: Path) -> None:
    block = block_of([*photo_tags(80, 48), Tag(0x8649, UNDEFINED, bytes(70_000))])  # the note lies behind it
    notes = write_image(tmp_path / "out.jpg", Image(PIXELS, exif=block))
    assert notes == [
        "JPEG cannot store Photoshop data (70 kB)",
        "the camera's maker note was moved: its offsets can be wrong",
    ]
    assert MAKER_NOTE in (tmp_path / "out.jpg").read_bytes()
