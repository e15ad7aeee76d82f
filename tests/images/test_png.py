"""Chunks of a PNG are carried at any depth, and its pixels mean what it says."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from round_trip.blocks import ICC, IPTC, PHOTOSHOP, XMP, exif_block
from round_trip.sources import LIGHT, chunk, scene, with_chunks
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_image, write_image

RGB = scene(np.uint8, 3)


def png(bits: int, colour: int, rows: bytes, *chunks: tuple[str, bytes], size: tuple[int, int] = (8, 4)) -> bytes:
    """A PNG of 8 x 4 px made byte by byte."""
    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    middle = b"".join(chunk(*one) for one in chunks)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + middle + chunk("IDAT", zlib.compress(rows)) + chunk("IEND", b"")
    )


def again(tmp_path: Path, content: bytes, suffix: str = ".png") -> tuple[bytes, list[str]]:
    (tmp_path / "in.png").write_bytes(content)
    image = read_image(tmp_path / "in.png")
    notes = write_image(tmp_path / f"out{suffix}", image.with_pixels(image.pixels))
    return (tmp_path / f"out{suffix}").read_bytes(), notes


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", [*LIGHT, "sBIT", "tIME", "pHYs of another shape", "prVt"])
def test_chunks_are_carried(tmp_path: Path, dtype: Any, name: str) -> None:
    others = {
        "sBIT": b"\5\6\5",
        "tIME": b"\x07\xe8\1\2\3\4\5",
        "pHYs of another shape": struct.pack(">IIB", 2, 1, 0),
        "prVt": b"own",  # private, and safe to copy by its last letter
    }
    data = {**LIGHT, **others}[name]
    written, notes = again(tmp_path, with_chunks(imagecodecs.png_encode(scene(dtype, 3)), (name[:4], data)))
    assert notes == []
    assert chunk(name[:4], data) in written


def test_a_chunk_that_is_not_safe_to_copy_is_said(tmp_path: Path) -> None:
    _, notes = again(tmp_path, with_chunks(imagecodecs.png_encode(RGB), ("prVT", b"own"), ("hIST", b"\0\1")))
    assert notes == ["PNG chunk prVT is left out", "PNG chunk hIST is left out"]


def test_what_follows_a_png_is_said(tmp_path: Path) -> None:
    _, notes = again(tmp_path, imagecodecs.png_encode(RGB) + b"more")
    assert notes == ["4 bytes after the end of the PNG are left out"]


TEXTS = [
    ("tEXt", b"parameters\0a cat, steps: 20"),
    ("zTXt", b"Description\0\0" + zlib.compress(b"long " * 99)),
    ("iTXt", b"Title\0\1\0de\0Titel\0" + zlib.compress("Grüße".encode())),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_text_is_carried_byte_for_byte_or_named(tmp_path: Path, dtype: Any) -> None:
    content = with_chunks(imagecodecs.png_encode(scene(dtype, 3)), *TEXTS)
    written, notes = again(tmp_path, content)
    assert notes == []
    assert all(chunk(*text) in written for text in TEXTS)
    _, notes = again(tmp_path, content, ".avif")
    assert "AVIF cannot store text (parameters), text (Description), text (Title)" in notes


def raw(kind: str, data: bytes, header: str = "") -> tuple[str, bytes]:
    """Metadata in ImageMagick's form; ExifTool's header has more words."""
    text = f"\n{header or kind}\n{len(data):8d}\n{data.hex()}\n"
    return "zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text.encode())


@pytest.mark.parametrize("header", ["", "IPTC profile"])
def test_profiles_in_text_are_metadata(tmp_path: Path, header: str) -> None:
    block = exif_block(RGB)
    others = raw("exif", b"Exif\0\0" + block), raw("iptc", PHOTOSHOP, header), raw("xmp", XMP)
    (tmp_path / "in.png").write_bytes(with_chunks(imagecodecs.png_encode(RGB), *others))
    image = read_image(tmp_path / "in.png")
    assert (image.exif, image.xmp, image.iptc, image.photoshop) == (block, XMP, IPTC, PHOTOSHOP)
    assert write_image(tmp_path / "out.jpg", image) == []
    written = (tmp_path / "out.jpg").read_bytes()
    assert all(data in written for data in (block, XMP, PHOTOSHOP))


def test_a_raw_profile_that_is_damaged_stays_text(tmp_path: Path) -> None:
    broken = ("zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n      9\nzz\n"))
    cut = ("zTXt", b"Raw profile type iptc\0\0" + zlib.compress(b"own")[:-3])
    written, notes = again(tmp_path, with_chunks(imagecodecs.png_encode(RGB), broken, cut))
    assert notes == []
    assert chunk(*broken) in written
    assert chunk(*cut) in written


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("icc", [ICC, ICC + b"\0\0", b"junk" * 100])
def test_a_profile_that_libpng_refuses_comes_through(tmp_path: Path, dtype: Any, icc: bytes) -> None:
    profile = ("iCCP", b"own\0\0" + zlib.compress(icc))
    written, notes = again(tmp_path, with_chunks(imagecodecs.png_encode(scene(dtype, 3)), profile))
    assert notes == []
    assert chunk(*profile) in written
    assert read_image(tmp_path / "out.png").icc == icc
    assert np.array_equal(read_image(tmp_path / "out.png").pixels, scene(dtype, 3))


def test_a_profile_that_does_not_unpack_is_said(tmp_path: Path) -> None:
    _, notes = again(tmp_path, with_chunks(imagecodecs.png_encode(RGB), ("iCCP", b"own\0\0junk")))
    assert notes == ["PNG chunk iCCP is left out"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_value_of_grey(tmp_path: Path, bits: int) -> None:
    key = min(3, (1 << bits) - 1)
    values = np.arange(8) % (1 << bits)
    row = values.astype(">u2").tobytes() if bits == 16 else bytes(values.astype(np.uint8)) if bits == 8 else None
    if row is None:
        row = np.packbits(((values[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).ravel()).tobytes()
    (tmp_path / "a.png").write_bytes(png(bits, 0, (b"\0" + row) * 4, ("tRNS", struct.pack(">H", key))))
    pixels = read_image(tmp_path / "a.png").pixels
    top = 65_535 if bits == 16 else 255
    assert pixels.shape == (4, 8, 2)
    assert np.array_equal(pixels[0, :, 1], np.where(values == key, 0, top))
    assert np.array_equal(pixels[0, :, 0], values * (top // ((1 << bits) - 1)))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour(tmp_path: Path, bits: int) -> None:
    kind = ">u1" if bits == 8 else ">u2"
    colours = np.arange(24).astype(kind)
    key = struct.pack(">3H", 3, 4, 5)
    (tmp_path / "a.png").write_bytes(png(bits, 2, (b"\0" + colours.tobytes()) * 4, ("tRNS", key)))
    pixels = read_image(tmp_path / "a.png").pixels
    top = 65_535 if bits == 16 else 255
    assert pixels.shape == (4, 8, 4)
    assert pixels[0, :, 3].tolist() == [top, 0, *[top] * 6]
    assert np.array_equal(pixels[0, :, :3].ravel(), np.arange(24))


def test_grey_and_alpha_of_16_bits(tmp_path: Path) -> None:
    values = (np.arange(16) * 4000).astype(">u2")
    (tmp_path / "a.png").write_bytes(png(16, 4, (b"\0" + values.tobytes()) * 4))
    assert np.array_equal(read_image(tmp_path / "a.png").pixels[0].ravel(), np.arange(16) * 4000)


def test_a_palette_with_alpha(tmp_path: Path) -> None:
    palette = ("PLTE", bytes((10, 20, 30, 40, 50, 60))), ("tRNS", bytes((128,))), ("bKGD", b"\1")
    content = png(8, 3, (b"\0" + bytes((0, 1) * 4)) * 4, *palette)
    written, notes = again(tmp_path, content)
    assert notes == []
    assert read_image(tmp_path / "out.png").pixels[0, :2].tolist() == [[10, 20, 30, 128], [40, 50, 60, 255]]
    assert chunk("bKGD", bytes((0, 40, 0, 50, 0, 60))) in written


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_interlaced(tmp_path: Path, dtype: Any) -> None:
    """Adam7, made by hand: seven small images one after the other."""
    pixels = scene(dtype, 3)
    rows = b""
    for x, y, step_x, step_y in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        part = pixels[y::step_y, x::step_x]
        rows += b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in part)
    header = struct.pack(">IIBBBBB", 80, 48, 8 * pixels.dtype.itemsize, 2, 0, 0, 1)
    content = b"\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("IDAT", zlib.compress(rows)) + chunk("IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, pixels)


def test_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    frames = [Pillow.fromarray(RGB), Pillow.fromarray(255 - RGB)]
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    kinds = {
        "moving.png": (buffer.getvalue(), "holds 2 images"),
        "app.png": (b"\x89PNG\r\n\x1a\n" + chunk("CgBI", bytes(4)), "Apple's format for apps"),
        "bomb.png": (png(8, 2, bytes(9), size=(60_000, 60_000)), "decompression bomb"),
        "none.png": (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
    }
    for name, (content, words) in kinds.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words):
            read_image(tmp_path / name)


def apng(*, default_is_frame: bool) -> bytes:
    """An animation of one frame, which is the default image or hidden behind it."""
    control = struct.pack(">IIIIIHHBB", 0, 8, 4, 0, 0, 1, 10, 0, 0)
    still = png(8, 0, bytes(4 * 9), ("acTL", struct.pack(">II", 1, 0)), *[("fcTL", control)] * default_is_frame)
    if default_is_frame:
        return still
    frame = chunk("fcTL", control) + chunk("fdAT", bytes(4) + zlib.compress(bytes([0, *[9] * 8] * 4)))
    return still.removesuffix(chunk("IEND", b"")) + frame + chunk("IEND", b"")


def test_a_frame_behind_the_default_image_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(apng(default_is_frame=True))
    assert read_image(tmp_path / "a.png").pixels.shape == (4, 8, 1)
    (tmp_path / "a.png").write_bytes(apng(default_is_frame=False))
    with pytest.raises(UserError, match="holds 2 images"):
        read_image(tmp_path / "a.png")


def test_a_text_bomb_takes_no_memory(tmp_path: Path) -> None:
    bomb = ("zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(1 << 27)))
    (tmp_path / "a.png").write_bytes(with_chunks(imagecodecs.png_encode(RGB), bomb))
    image = read_image(tmp_path / "a.png")
    assert image.exif is None
    assert [part.name for part in image.parts] == ["zTXt"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_any_layout_in_memory(tmp_path: Path, dtype: Any, channels: int) -> None:
    pixels = scene(dtype, channels)
    for name, stored in {
        "flipped": pixels[::-1, ::-1],
        "Fortran": np.asfortranarray(pixels),
        "view": pixels[..., :],
    }.items():
        write_image(tmp_path / "a.png", Image(stored))
        assert np.array_equal(read_image(tmp_path / "a.png").pixels, stored), name


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_narrow_images_of_noise(tmp_path: Path, dtype: Any, width: int) -> None:
    """They become larger than their pixels: each row has a byte more, and noise cannot be compressed."""
    noise = np.random.default_rng(0)
    for channels in (1, 2, 3, 4):
        for height in (500, 5000):
            pixels = noise.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)
            write_image(tmp_path / "a.png", Image(pixels))
            assert np.array_equal(read_image(tmp_path / "a.png").pixels, pixels)
