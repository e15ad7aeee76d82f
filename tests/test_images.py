"""Images survive the way in and out; bad files get one line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from tfmlc.errors import UserError
from tfmlc.io.images import Image, find_images, read_image, read_rgb8, to_depth, write_image

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int = 1) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x829A] = 0.02  # exposure time
    return exif


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_of_8_bits(tmp_path: Path, photo: np.ndarray, suffix: str, channels: int) -> None:
    pixels = photo[..., :channels]
    exif = exif_block().tobytes()
    lost = write_image(tmp_path / f"a{suffix}", Image(pixels, icc=ICC, exif=exif))
    back = read_image(tmp_path / f"a{suffix}")
    assert back.pixels.dtype == np.uint8
    if suffix in (".jpg", ".webp"):
        same = back.pixels if back.pixels.shape == pixels.shape else back.pixels[..., :1]
        assert np.abs(same.astype(int) - pixels).mean() < 4
    else:
        assert np.array_equal(back.pixels, pixels)
    if suffix == ".bmp":
        assert lost
        return
    assert not lost
    assert back.icc == ICC
    assert back.exif is not None
    kept = PIL.Image.Exif()
    kept.load(back.exif)
    assert kept[0x010F] == "Maker"
    assert float(kept.get_ifd(0x8769)[0x829A]) == pytest.approx(0.02)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_round_trip_of_16_bits(tmp_path: Path, photo: np.ndarray, suffix: str, channels: int) -> None:
    deep = np.concatenate([photo, photo[..., :1]], axis=2)[..., :channels].astype(np.uint16) * 200 + 7
    assert not write_image(tmp_path / f"a{suffix}", Image(deep, icc=ICC, exif=exif_block().tobytes()))
    back = read_image(tmp_path / f"a{suffix}")
    assert back.pixels.dtype == np.uint16
    assert np.array_equal(back.pixels, deep)
    assert back.icc == ICC
    assert back.exif is not None
    assert b"Maker" in back.exif


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_survives(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    see_through = np.concatenate([photo, photo[..., :1]], axis=2)
    write_image(tmp_path / f"a{suffix}", Image(see_through))
    assert np.array_equal(read_image(tmp_path / f"a{suffix}").pixels[..., 3], see_through[..., 3])


def test_what_a_format_cannot_keep_is_said(tmp_path: Path, photo: np.ndarray) -> None:
    deep = np.concatenate([photo, photo[..., :1]], axis=2).astype(np.uint16) * 257
    lost = write_image(tmp_path / "a.jpg", Image(deep))
    assert len(lost) == 2
    assert "8 bits" in lost[0]
    assert "alpha" in lost[1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_is_applied_once(tmp_path: Path, photo: np.ndarray, orientation: int, bits: int) -> None:
    path = tmp_path / "a.png"
    if bits == 8:
        PIL.Image.fromarray(photo).save(path, exif=exif_block(orientation))
    else:
        exif = exif_block(orientation).tobytes().removeprefix(b"Exif\0\0")
        _, coded = cv2.imencodeWithMetadata(
            ".png", to_depth(photo, 16)[..., ::-1].copy(), [cv2.IMAGE_METADATA_EXIF], [np.frombuffer(exif, np.uint8)]
        )
        path.write_bytes(coded.tobytes())
    turned = {3: PIL.Image.Transpose.ROTATE_180, 6: PIL.Image.Transpose.ROTATE_270, 8: PIL.Image.Transpose.ROTATE_90}
    mirrored = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        7: PIL.Image.Transpose.TRANSVERSE,
    }
    how = {**turned, **mirrored}.get(orientation)
    upright = np.asarray(PIL.Image.fromarray(photo).transpose(how) if how is not None else photo)
    first = read_image(path)
    assert first.pixels.dtype.itemsize * 8 == bits
    assert np.array_equal(to_depth(first.pixels, 8), upright)
    write_image(tmp_path / "b.png", first)
    assert np.array_equal(read_image(tmp_path / "b.png").pixels, first.pixels)


def test_other_modes_become_simple_ones(tmp_path: Path, photo: np.ndarray) -> None:
    image = PIL.Image.fromarray(photo)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.quantize(64).save(tmp_path / "palette.png")
    image.convert("1").save(tmp_path / "bits.png")
    image.convert("LA").save(tmp_path / "la.png")
    shapes = {
        name: read_image(tmp_path / name).pixels.shape[2] for name in ("cmyk.jpg", "palette.png", "bits.png", "la.png")
    }
    assert shapes == {"cmyk.jpg": 3, "palette.png": 3, "bits.png": 1, "la.png": 2}
    assert np.abs(read_rgb8(tmp_path / "palette.png").astype(int) - photo).mean() < 16


def png_claiming(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def encoded(photo: np.ndarray, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(photo).save(buffer, name, **options)
    return buffer.getvalue()


def bad_files(photo: np.ndarray) -> dict[str, tuple[bytes, str]]:
    frames = [PIL.Image.fromarray(photo), PIL.Image.fromarray(photo[::-1].copy())]
    return {
        "empty.jpg": (b"", "is empty"),
        "cut.jpg": (encoded(photo, "JPEG")[:900], "damaged or cut off"),
        "cut.png": (encoded(photo, "PNG")[:-500], "damaged or cut off"),
        "text.png": (b"this is no image\n" * 20, "is not an image"),
        "still.gif": (encoded(photo, "GIF"), "is a GIF file: save it as"),
        "moving.gif": (encoded(photo, "GIF", save_all=True, append_images=frames), "is a GIF file: save it as"),
        "moving.webp": (encoded(photo, "WEBP", save_all=True, append_images=frames), "holds [23] images"),
        "bomb.png": (png_claiming(60_000, 60_000), "decompression bomb"),
        "float.tiff": (encoded(photo[..., 0].astype(np.float32), "TIFF"), "32 bits"),
    }


@pytest.mark.parametrize("name", [*bad_files(np.zeros((40, 40, 3), np.uint8))])
def test_bad_file_is_named_in_one_line(tmp_path: Path, photo: np.ndarray, name: str) -> None:
    content, reason = bad_files(photo)[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.png"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(UserError, match="cannot read"):
        read_image(tmp_path)


def test_unknown_suffix_is_refused_before_writing(tmp_path: Path, photo: np.ndarray) -> None:
    with pytest.raises(UserError, match=r"must end in one of"):
        write_image(tmp_path / "a.xyz", Image(photo))
    assert not list(tmp_path.iterdir())


def test_pictures_are_found_in_natural_order(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "b").mkdir()
    for name in ("f10.png", "f9.png", "b/f1.png"):
        write_image(tmp_path / name, Image(photo))
    (tmp_path / "notes.txt").write_text("no image")
    assert [str(name) for _, name in find_images(tmp_path)] == ["b/f1.png", "f9.png", "f10.png"]


def test_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        find_images(tmp_path)


def test_depth_changes_keep_black_and_white() -> None:
    ends = np.array([[[0, 128, 255]]], np.uint8)
    assert to_depth(ends, 16).tolist() == [[[0, 32896, 65535]]]
    assert np.array_equal(to_depth(to_depth(ends, 16), 8), ends)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (31, 47)])
def test_fast_png_loses_nothing(tmp_path: Path, channels: int, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    write_image(tmp_path / "a.png", Image(pixels), fast=True)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, pixels)
    with PIL.Image.open(tmp_path / "a.png") as image:
        image.verify()
    decoded = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.shape[:2] == size


def test_fast_png_keeps_what_belongs_to_a_photo(tmp_path: Path) -> None:
    image = Image(np.zeros((3, 4, 3), np.uint8), icc=None, resolution=(96.0, 96.0))
    write_image(tmp_path / "a.png", image, fast=True)
    assert read_image(tmp_path / "a.png").resolution == pytest.approx((96.0, 96.0), abs=0.1)
