"""Every segment of a JPEG, and what follows it, comes through."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from round_trip.blocks import IPTC, XMP, exif_block
from round_trip.sources import scene, with_photoshop
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_image, read_size, write_image
from tfmlc.io.images.ifd import Tags

PIXELS = scene(np.uint8, 3)
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"


def jpeg(pixels: np.ndarray = PIXELS, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "JPEG", **{"quality": 95, **options})
    return buffer.getvalue()


def with_segments(content: bytes, *segments: tuple[int, bytes]) -> bytes:
    added = b"".join(struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data for marker, data in segments)
    return content[:2] + added + content[2:]


def again(tmp_path: Path, content: bytes, suffix: str = ".jpg") -> tuple[bytes, list[str]]:
    """A JPEG read, its pixels changed a little, and written; the file and what was said."""
    (tmp_path / "in.jpg").write_bytes(content)
    image = read_image(tmp_path / "in.jpg")
    notes = write_image(tmp_path / f"out{suffix}", image.with_pixels(image.pixels))
    return (tmp_path / f"out{suffix}").read_bytes(), notes


def test_segments_of_any_kind_are_carried(tmp_path: Path) -> None:
    segments = [
        (0xE1, b"other\0data"),
        (0xE2, b"FPXR\0own"),
        (0xEC, b"Ducky own"),
        (0xEF, b"own"),
        (0xFE, b"one comment"),
    ]
    segments += [(0xFE, "zwei Wörter".encode())]
    written, notes = again(tmp_path, with_segments(jpeg(), *segments))
    assert notes == []
    for marker, data in segments:
        assert struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data in written


def test_what_other_formats_have_no_room_for_is_named(tmp_path: Path) -> None:
    _, notes = again(tmp_path, with_segments(jpeg(), (0xEC, b"Ducky own"), (0xFE, b"hello"), (0xE1, b"x")), ".webp")
    assert notes == ["WebP cannot store JPEG segment APP12, the comment, JPEG segment APP1"]


def test_comments_go_into_png_and_back(tmp_path: Path) -> None:
    for comment in (b"plain", "Grüße".encode(), b"latin \xe9"):
        (tmp_path / "in.jpg").write_bytes(with_segments(jpeg(), (0xFE, comment)))
        assert write_image(tmp_path / "a.png", read_image(tmp_path / "in.jpg")) == []
        assert write_image(tmp_path / "b.jpg", read_image(tmp_path / "a.png")) == []
        with Pillow.open(tmp_path / "b.jpg") as image:
            assert image.info["comment"] == comment


@pytest.mark.parametrize("size", [10, 65_000, 70_000, 500_000])
def test_profiles_of_any_size(tmp_path: Path, size: int) -> None:
    profile = bytes(range(256)) * (size // 256 + 1)
    assert write_image(tmp_path / "a.jpg", Image(PIXELS, icc=profile[:size])) == []
    with Pillow.open(tmp_path / "a.jpg") as image:
        assert image.info["icc_profile"] == profile[:size]
    assert read_image(tmp_path / "a.jpg").icc == profile[:size]


def test_a_profile_of_which_a_piece_is_missing_is_said(tmp_path: Path) -> None:
    _, notes = again(tmp_path, with_segments(jpeg(), (0xE2, b"ICC_PROFILE\0\x01\x02" + bytes(99))))
    assert notes == ["the colour profile was incomplete and is left out"]


def test_xmp_of_more_than_a_segment(tmp_path: Path) -> None:
    packet = XMP + b" " * 200_000
    assert write_image(tmp_path / "a.jpg", Image(PIXELS, xmp=packet)) == []
    assert read_image(tmp_path / "a.jpg").xmp == packet
    assert EXTENSION in (tmp_path / "a.jpg").read_bytes()


def test_extended_xmp_of_others_is_carried(tmp_path: Path) -> None:
    digest = b"0123456789ABCDEF0123456789ABCDEF"
    main = XMP.replace(b'xmp:Rating="5"', b'xmp:Rating="5" xmpNote:HasExtendedXMP="' + digest + b'"')
    piece = EXTENSION + digest + struct.pack(">II", 9, 0) + b"<x>own</x>"
    content = with_segments(jpeg(), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + main), (0xE1, piece))
    written, notes = again(tmp_path, content)
    assert notes == []
    assert main in written
    assert piece in written


def test_iptc_without_photoshop_data_goes_into_a_jpeg(tmp_path: Path) -> None:
    assert write_image(tmp_path / "a.jpg", Image(PIXELS, iptc=IPTC)) == []
    back = read_image(tmp_path / "a.jpg")
    assert back.iptc == IPTC
    assert back.photoshop is not None
    assert back.photoshop.startswith(b"8BIM\x04\x04")


def two_images(**options: Any) -> tuple[bytes, bytes]:
    """A JPEG with a second one, and that."""
    buffer = io.BytesIO()
    half = Pillow.fromarray(PIXELS[::2, ::2, 0])
    Pillow.fromarray(PIXELS).save(buffer, "MPO", quality=95, save_all=True, append_images=[half], **options)
    content = buffer.getvalue()
    return content, content[content.index(b"\xff\xd9\xff\xd8\xff") + 2 :]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_further_image_stays_and_is_pointed_to(tmp_path: Path, orientation: int) -> None:
    content, second = two_images(exif=b"Exif\0\0" + exif_block(PIXELS, orientation=orientation))
    written, notes = again(tmp_path, with_photoshop(content))
    assert notes == []
    assert written.endswith(second)
    with Pillow.open(io.BytesIO(written)) as image:
        assert image.n_frames == 2
        assert image.size == (80, 48)  # as it lay: so does the further image
        assert image.getexif()[0x0112] == orientation
        assert np.abs(np.asarray(image, np.float64) - PIXELS).mean() < 4
    # Opened anew: Pillow 11 decodes a grey image wrongly after a coloured one of the same file.
    with Pillow.open(io.BytesIO(written)) as image, Pillow.open(io.BytesIO(second)) as wanted:
        image.seek(1)
        assert np.array_equal(np.asarray(image), np.asarray(wanted))
    assert read_size(tmp_path / "out.jpg") == ((80, 48) if orientation == 1 else (48, 80))


@pytest.mark.parametrize(("offset", "like"), [(1, "smaller"), (0xFFFF_FFF0, "larger")])
def test_an_index_that_points_nowhere_is_no_obstacle(tmp_path: Path, offset: int, like: str) -> None:
    content, second = two_images()
    index = content.index(b"MPF\0") + 4
    tags = Tags(content[index:])
    entries = tags.find(0xB002)
    assert entries is not None
    changed = bytearray(content)
    struct.pack_into(tags.order + "I", changed, index + entries.where + 16 + 8, offset)
    (tmp_path / "in.jpg").write_bytes(changed)
    image = read_image(tmp_path / "in.jpg")
    noise = np.random.default_rng(0).integers(0, 256, PIXELS.shape, np.uint8)
    write_image(tmp_path / "out.jpg", image.with_pixels(PIXELS * 0 if like == "smaller" else noise))
    written = (tmp_path / "out.jpg").read_bytes()
    assert written.endswith(second)
    assert (len(written) < len(content)) == (like == "smaller")


def test_a_further_image_is_said_where_there_is_no_room(tmp_path: Path) -> None:
    _, notes = again(tmp_path, two_images()[0], ".png")
    assert notes == ["PNG cannot store what follows the image (gain map, depth, video)"]


def test_the_video_behind_a_moving_photo_stays(tmp_path: Path) -> None:
    video = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 9
    written, notes = again(tmp_path, jpeg() + video)
    assert notes == []
    assert written.endswith(video)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 2}, {"subsampling": "4:2:0"}])
def test_codings(tmp_path: Path, options: dict[str, Any]) -> None:
    written, notes = again(tmp_path, jpeg(**options))
    assert notes == []
    with Pillow.open(io.BytesIO(written)) as image:
        assert np.abs(np.asarray(image, np.float64) - PIXELS).mean() < 4


def test_ink_becomes_light_by_its_profile_or_without(tmp_path: Path) -> None:
    ink = np.dstack([255 - PIXELS, np.zeros((48, 80, 1), np.uint8)])
    buffer = io.BytesIO()
    Pillow.fromarray(ink, "CMYK").save(buffer, "JPEG", quality=95)
    (tmp_path / "in.jpg").write_bytes(buffer.getvalue())
    image = read_image(tmp_path / "in.jpg")
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 4
    assert image.notes == ("CMYK became sRGB",)
    assert image.icc is None


def test_12_bits_are_refused_by_name(tmp_path: Path) -> None:
    content = imagecodecs.jpeg_encode(scene(np.uint16, 1) >> 4, bitspersample=12)
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jpg is a JPEG of 12 bits per channel: save it as PNG or TIFF of 16 bits"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_a_jpeg_that_is_cut_off_is_not_half_read(tmp_path: Path, fraction: float) -> None:
    content = jpeg(np.tile(PIXELS, (4, 4, 1)))
    (tmp_path / "a.jpg").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(UserError, match="damaged or cut off"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("suffix", "size", "words"),
    [
        (".jpg", (65_501, 1), "JPEG allows 65500 px per side"),
        (".webp", (1, 16_384), "WebP allows 16383 px per side"),
        (".avif", (32_769, 1), "AVIF allows 32768 px per side"),
    ],
)
def test_what_is_too_long_for_a_format_is_refused_with_its_limit(
    tmp_path: Path, suffix: str, size: tuple[int, int], words: str
) -> None:
    with pytest.raises(UserError, match=f"{words}: write PNG or TIFF"):
        write_image(tmp_path / f"a{suffix}", Image(np.zeros((*size, 3), np.uint8)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "size"), [(".jpg", (65_500, 1)), (".webp", (1, 16_383)), (".avif", (32_768, 1))])
def test_what_is_just_not_too_long_is_written(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 128, np.uint8)
    assert write_image(tmp_path / f"a{suffix}", Image(pixels)) == []
    assert read_image(tmp_path / f"a{suffix}").pixels.shape[:2] == size
