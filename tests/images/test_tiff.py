"""TIFFs of every common kind mean what they say, and are written back in kind."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from conftest import make_photo
from round_trip.blocks import ASCII, MAKER_NOTE, PHOTOSHOP, SHORT, UNDEFINED, XMP, Tag
from round_trip.sources import extra, scene, tiff
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_image, read_size, write_image
from tfmlc.io.images.writing import LEAST_DPI, MOST_DPI


def read(tmp_path: Path, content: bytes) -> Image:
    (tmp_path / "a.tif").write_bytes(content)
    return read_image(tmp_path / "a.tif")


def made(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("planar", [False, True])
def test_samples_come_back_in_kind(tmp_path: Path, dtype: str, channels: int, order: str, planar: bool) -> None:
    samples = scene(dtype, channels)
    tags = extra(2, order=order) if channels in (2, 4) else ()
    image = read(tmp_path, tiff(samples, 2 if channels >= 3 else 1, order, planar=planar, tags=tags))
    assert np.array_equal(image.pixels, samples.astype(np.float32) if dtype.startswith("float") else samples)
    write_image(tmp_path / "b.tif", image)
    back = tifffile.imread(tmp_path / "b.tif")
    assert back.dtype == dtype
    wanted = samples.astype(np.float32).astype(dtype) if dtype == "float64" else samples
    assert np.array_equal(back.reshape(samples.shape), wanted)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "layout", [{}, {"tile": (16, 16)}, {"rowsperstrip": 7}, {"bigtiff": True}, {"predictor": True}]
)
def test_codings(tmp_path: Path, compression: str, dtype: str, layout: dict[str, Any]) -> None:
    if "predictor" in layout and compression == "packbits":
        return
    samples = scene(dtype, 3)
    content = made(samples, photometric="rgb", compression=compression, metadata=None, **layout)
    assert np.array_equal(read(tmp_path, content).pixels, samples)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_depths_between_become_the_next(tmp_path: Path, bits: int) -> None:
    top = (1 << bits) - 1
    values = (np.arange(16 * 16).reshape(16, 16) * 37 % (top + 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    packed = made(
        values if bits > 1 else values.astype(bool), photometric="minisblack", bitspersample=bits, metadata=None
    )
    pixels = read(tmp_path, packed).pixels[..., 0]
    assert pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    white = 255 if bits <= 8 else 65_535
    assert np.abs(pixels.astype(float) / white - values / top).max() < 1 / white
    assert pixels[values == top].min(initial=white) == white


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bits_of", [(), (1, 1, 1)])
def test_white_is_zero(tmp_path: Path, dtype: str, bits_of: tuple[int, ...]) -> None:
    grey = scene(dtype, 1)
    assert np.array_equal(read(tmp_path, tiff(np.iinfo(dtype).max - grey, 0)).pixels, grey)


def test_fax(tmp_path: Path) -> None:
    black = Pillow.fromarray(scene(np.uint8, 1)[..., 0]).convert("1")
    for coding in ("group3", "group4", "tiff_ccitt"):
        buffer = io.BytesIO()
        black.save(buffer, "TIFF", compression=coding)
        assert np.array_equal(read(tmp_path, buffer.getvalue()).pixels[..., 0], np.asarray(black.convert("L")))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_premultiplied_colours_are_divided_and_come_back(tmp_path: Path, dtype: str) -> None:
    straight = scene(dtype, 4)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    product = straight[..., :3].astype(np.float64) / top * straight[..., 3:]
    samples = np.dstack([product if dtype == "float32" else np.rint(product), straight[..., 3:]]).astype(dtype)
    samples[:4, :, :] = 0  # nothing to be seen
    image = read(tmp_path, tiff(samples, 2, tags=extra(1)))
    alpha = straight[4:, :, 3:].astype(np.float64) / top
    assert np.abs(image.pixels[4:, :, :3] / top - straight[4:, :, :3] / top).max() <= (1 / alpha.min() + 1) / (2 * 255)
    write_image(tmp_path / "b.tif", image)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].extrasamples == (1,)
        back = file.pages[0].asarray()
    assert np.allclose(back, samples, atol=1e-6) if dtype == "float32" else np.array_equal(back, samples)
    assert write_image(tmp_path / "b.png", image.with_pixels(image.pixels))[-1:] != ["premultiplied"]


@pytest.mark.parametrize("kinds", [(0,), (2, 0), (0, 2), (0, 0, 0)])
def test_further_planes_stay_where_they_are(tmp_path: Path, kinds: tuple[int, ...]) -> None:
    planes = [scene(np.uint16, 1)[..., 0] // (2 + number) for number in range(len(kinds))]
    samples = np.dstack([scene(np.uint16, 3), *planes])
    image = read(tmp_path, tiff(samples, 2, tags=extra(*kinds)))
    assert image.pixels.shape[2] == (4 if 2 in kinds else 3)
    assert image.extra is not None
    assert image.extra.shape[2] == len(kinds) - (2 in kinds)
    assert write_image(tmp_path / "b.tif", image) == []
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        back, found = file.pages[0].asarray(), file.pages[0].extrasamples
    assert sorted(map(int, found)) == sorted(kinds)
    assert {plane.tobytes() for plane in np.moveaxis(back, 2, 0)} == {
        plane.tobytes() for plane in np.moveaxis(samples, 2, 0)
    }
    notes = write_image(tmp_path / "b.png", image)
    assert notes == ["PNG cannot store IPTC and Photoshop data"] or any("planes" in note for note in notes)


def test_alpha_that_is_not_said_to_be_alpha_is_a_plane(tmp_path: Path) -> None:
    samples = scene(np.uint8, 2)
    image = read(tmp_path, tiff(samples, 1))
    assert image.pixels.shape[2] == 1
    assert image.extra is not None
    assert np.array_equal(image.extra, samples[..., 1:])


@pytest.mark.parametrize("name", ["JPEG", "JPEG in colours of its own", "YCbCr"])
def test_colour_differences(tmp_path: Path, name: str) -> None:
    pixels = scene(np.uint8, 3)
    buffer = io.BytesIO()
    options = {"compression": "jpeg", "quality": 95} if "JPEG" in name else {}
    image = Pillow.fromarray(pixels)
    (image if name == "JPEG" else image.convert("YCbCr")).save(buffer, "TIFF", **options)
    assert np.abs(read(tmp_path, buffer.getvalue()).pixels.astype(int) - pixels).mean() < 4


def ycbcr(pixels: np.ndarray, factor: int) -> bytes:
    """An uncompressed TIFF of the colour differences of each ``factor`` x ``factor`` px."""
    samples, units = np.asarray(Pillow.fromarray(pixels).convert("YCbCr")), bytearray()
    for row in range(0, len(samples), factor):
        for column in range(0, samples.shape[1], factor):
            unit = samples[row : row + factor, column : column + factor]
            units += unit[..., 0].tobytes() + unit[..., 1:].mean((0, 1)).astype(np.uint8).tobytes()
    (height, width), bits = samples.shape[:2], struct.pack("<3H", 8, 8, 8)
    fields = [(256, 4, width), (257, 4, height), (258, 3, 0), (259, 4, 1), (262, 4, 6), (273, 4, 0), (277, 4, 3)]
    fields += [(278, 4, height), (279, 4, len(units)), (530, 3, factor << 16 | factor)]
    end = 8 + 2 + 12 * len(fields) + 4
    at, counts = {258: end, 273: end + len(bits)}, {258: 3, 530: 2}
    rows = [struct.pack("<2H2I", tag, kind, counts.get(tag, 1), at.get(tag, value)) for tag, kind, value in fields]
    return b"".join([b"II*\0", struct.pack("<IH", 8, len(rows)), *rows, bytes(4), bits, units])


@pytest.mark.parametrize("factor", [1, 2])
def test_colour_differences_that_are_not_compressed(tmp_path: Path, factor: int) -> None:
    pixels = make_photo(36, 50)
    content = ycbcr(pixels, factor)
    assert np.abs(read(tmp_path, content).pixels.astype(int) - pixels).mean() < (2 if factor == 1 else 6)
    with pytest.raises(UserError, match="ends before its last strip"):
        read(tmp_path, content[:-200])


REFUSED = {
    "signed": (made(np.zeros((8, 8), np.int16), photometric="minisblack"), "signed integers of 16 bits"),
    "signed 8": (made(np.zeros((8, 8), np.int8), photometric="minisblack"), "signed integers of 8 bits"),
    "32 bits": (made(np.zeros((8, 8), np.uint32), photometric="minisblack"), "integers of 32 bits"),
    "complex": (made(np.zeros((8, 8), np.complex64), photometric="minisblack"), "complex numbers"),
    "float beyond 1": (
        made(np.full((8, 8), 255, np.float32), photometric="minisblack"),
        "values from 255 to 255: scale",
    ),
    "not a number": (
        made(np.full((8, 8), np.nan, np.float32), photometric="minisblack"),
        "values from nan to nan: scale",
    ),
    "pages": (made(np.zeros((3, 8, 8), np.uint8), photometric="minisblack"), "holds 3 images"),
    "volume": (
        made(np.zeros((4, 16, 16), np.uint8), photometric="minisblack", volumetric=True, tile=(1, 16, 16)),
        "dimensions",
    ),
    "CMYK 16": (made(np.zeros((8, 8, 4), np.uint16), photometric="separated"), "CMYK of 16 bits"),
    "Lab": (made(np.zeros((8, 8, 3), np.uint8), photometric="cielab"), "CIELab"),
    "raw": (made(np.zeros((8, 8), np.uint16), photometric="cfa"), "camera raw"),
    "DNG": (tiff(scene(np.uint16, 3), 2, tags=(Tag(50706, 1, b"\1\4\0\0"),)), "camera raw photo"),
    "two channels as RGB": (tiff(scene(np.uint8, 2), 2), "is marked as RGB but has 2 channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_kinds_that_are_not_read_are_named_with_a_way(tmp_path: Path, name: str) -> None:
    content, words = REFUSED[name]
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, content)
    assert "not an image" not in str(caught.value)
    assert any(
        way in str(caught.value)
        for way in ("save it", "scale them", "develop it", "save the one", "save one", "name it")
    )


def test_smaller_copies_are_passed_over_and_said(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(scene(np.uint8, 3), photometric="rgb", metadata=None, subifds=1)
        file.write(scene(np.uint8, 3)[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
        file.write(scene(np.uint8, 3)[::4, ::4], photometric="rgb", metadata=None, subfiletype=1)
    image = read(tmp_path, buffer.getvalue())
    assert np.array_equal(image.pixels, scene(np.uint8, 3))
    assert image.notes == (
        "1 smaller copies or masks of the image are left out",
        "smaller copies of the image are left out",
    )


@pytest.mark.parametrize("said_by", ["new tag", "old tag", "both tags"])
def test_the_header_tells_the_size_of_the_image_that_is_read(tmp_path: Path, said_by: str) -> None:
    """A small copy that comes first hides no large image from the limits of size."""
    tags = {"new tag": [(254, 4, 1, 1, True)], "old tag": [(255, 3, 1, 2, True)]}
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        extratags = tags.get(said_by, [tag for both in tags.values() for tag in both])
        file.write(scene(np.uint8, 3)[::4, ::4], photometric="rgb", metadata=None, extratags=extratags)
        file.write(scene(np.uint8, 3), photometric="rgb", metadata=None)
    image = read(tmp_path, buffer.getvalue())
    assert np.array_equal(image.pixels, scene(np.uint8, 3))
    assert read_size(tmp_path / "a.tif") == image.pixels.shape[1::-1]


def test_an_image_of_another_size_than_the_header_tells_is_refused(tmp_path: Path) -> None:
    content = tiff(scene(np.uint8, 3), 2, tags=(Tag(256, SHORT, struct.pack("<H", 4)),))
    with pytest.raises(UserError, match="two sizes"):
        read(tmp_path, content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    samples = scene(np.uint16, 4)
    samples[..., 3] = scene(np.uint16, 1)[..., 0]
    content = tiff(samples, 2, tags=(*extra(0), Tag(0x0112, SHORT, struct.pack("<H", orientation))))
    first = content.replace(
        struct.pack("<HHIHH", 0x0112, SHORT, 1, 1, 0), struct.pack("<HHIHH", 0x0112, SHORT, 1, orientation, 0)
    )
    image = read(tmp_path, first)
    assert read_size(tmp_path / "a.tif") == image.pixels.shape[1::-1]
    assert image.extra is not None
    write_image(tmp_path / "b.tif", image)
    back = read_image(tmp_path / "b.tif")
    assert np.array_equal(back.pixels, image.pixels)
    assert back.extra is not None
    assert np.array_equal(back.extra, image.extra)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[0x0112].value == 1


def test_tags_of_others_are_carried(tmp_path: Path) -> None:
    tags = (
        Tag(33550, 12, struct.pack("<3d", 1, 2, 3)),
        Tag(42112, ASCII, b"<GDAL/>\0"),
        Tag(65000, UNDEFINED, b"own data"),
    )
    image = read(tmp_path, tiff(scene(np.uint16, 3), 2, tags=tags))
    assert write_image(tmp_path / "b.tif", image) == []
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        found = file.pages[0].tags
        assert found[33550].value == (1.0, 2.0, 3.0)
        assert found[42112].value == "<GDAL/>"
        assert found[65000].value == b"own data"
        assert found[700].value == XMP
        assert found[34377].value == PHOTOSHOP
        assert found[315].value == "Jürgen Müller"
        assert found[34665].value["DateTimeOriginal"] == "2024:05:06 07:08:09"
        assert found[34853].value["GPSLatitudeRef"] == "N"
    assert MAKER_NOTE in (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".avif", ".tif", ".bmp"])
def test_a_resolution_of_nothing_is_none(tmp_path: Path, target: str) -> None:
    zero = struct.pack("<II", 0, 0)
    content = tiff(scene(np.uint8, 3), 2, tags=())
    content = content.replace(struct.pack("<II", 300, 1), zero).replace(struct.pack("<II", 150, 1), zero)
    image = read(tmp_path, content)
    assert image.resolution is None
    write_image(tmp_path / f"b{target}", image)
    assert np.abs(read_image(tmp_path / f"b{target}").pixels.astype(int) - scene(np.uint8, 3)).mean() < 4


@pytest.mark.parametrize("target", [".jpg", ".png", ".webp", ".avif", ".tif", ".bmp"])
def test_a_resolution_that_cannot_be_is_left_out_and_said(tmp_path: Path, target: str) -> None:
    content = tiff(scene(np.uint8, 3), 2, tags=())
    image = read(tmp_path, content.replace(struct.pack("<II", 300, 1), struct.pack("<II", 0xFFFF_FFFF, 1)))
    line = "a resolution of {} dots per inch cannot be and is left out"
    for given in (image, *(Image(image.pixels, resolution=(bad, 300.0)) for bad in (float("nan"), -1.0, 1e-5, 1e300))):
        assert given.resolution is not None
        assert line.format("{:.3g} x {:.3g}".format(*given.resolution)) in write_image(tmp_path / f"b{target}", given)
        assert np.abs(read_image(tmp_path / f"b{target}").pixels.astype(int) - scene(np.uint8, 3)).mean() < 4
    for given in (read(tmp_path, content), Image(image.pixels, resolution=(LEAST_DPI, MOST_DPI))):
        assert not any("dots" in note for note in write_image(tmp_path / f"b{target}", given))


def test_photoshop_data_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Pillow.fromarray(scene(np.uint8, 3)).save(buffer, "TIFF", tiffinfo={34377: bytes(200_000)})
    image = read(tmp_path, buffer.getvalue())
    assert image.notes == ("a Photoshop block that cannot be read is left out",)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_image(tmp_path / f"b{suffix}", image)


def test_odd_tags_are_no_noise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    far = Tag(65_001, UNDEFINED, b"far away")
    content = bytearray(tiff(scene(np.uint8, 3), 2, tags=(far, Tag(65_003, 99, b"\1\2\3\4"))))
    at = content.find(struct.pack("<HH", 65_001, UNDEFINED))
    content[at + 8 : at + 12] = struct.pack("<I", 1 << 30)
    image = read(tmp_path, bytes(content))
    write_image(tmp_path / "b.tif", image)
    assert caplog.text == ""


def test_more_than_4_gigabytes_are_refused(tmp_path: Path) -> None:
    large = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint16), (40_000, 30_000, 3), (0, 0, 0))
    with pytest.raises(UserError, match="TIFF is limited to 4 GB: split the image"):
        write_image(tmp_path / "a.tif", Image(large))


def test_a_cut_off_tiff_is_damaged(tmp_path: Path) -> None:
    content = made(scene(np.uint8, 3), photometric="rgb", metadata=None)
    for stop in (len(content) - 100, 300, 9):
        with pytest.raises(UserError, match="damaged or cut off"):
            read(tmp_path, content[:stop])
