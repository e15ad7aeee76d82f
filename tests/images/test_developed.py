"""JPEG XL and camera raw, which are read with extras: right pixels, and one line where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.deblur.batch import plan_batch
from tfmlc.errors import UserError
from tfmlc.io.images import Image, find_images, read_image, read_size, write_image

pytest.importorskip("rawpy", reason="needs the extra raw")
pylibjxl = pytest.importorskip("pylibjxl", reason="needs the extra jxl")


def raw_file(folder: Path, name: str = "a.dng") -> tuple[Path, np.ndarray]:
    from round_trip.sources import dng, scene

    shown = scene(np.uint16, 3)
    (folder / name).write_bytes(dng(shown))
    return folder / name, shown


def test_a_raw_photo_is_developed_to_srgb_of_16_bits(tmp_path: Path) -> None:
    path, shown = raw_file(tmp_path)
    image = read_image(path)
    assert (image.pixels.dtype, read_size(path)) == (np.uint16, (80, 48))
    assert any("developed from camera raw" in note for note in image.notes)
    assert image.exif is not None
    inside = np.abs(image.pixels.astype(int) - shown)[24:40, 8:72]  # without the edges, which a mosaic blurs
    assert np.median(inside) < 150, "of 65535"
    assert inside.max() < 1500


def test_its_result_is_a_tiff_of_16_bits_with_a_note(tmp_path: Path) -> None:
    raw_file(tmp_path, "b.dng")
    raw_file(tmp_path)
    write_image(tmp_path / "b.tif", Image(make_photo(8, 8)))
    jobs = plan_batch([tmp_path], tmp_path / "out").jobs
    assert [job.target.name for job in jobs] == ["a.tif", "b.dng.tif", "b.tif"]
    notes = write_image(jobs[0].target, read_image(jobs[0].source))
    assert any("developed from camera raw" in note for note in notes)
    assert read_image(jobs[0].target).bits == 16


def test_a_damaged_raw_is_one_line(tmp_path: Path) -> None:
    path, _ = raw_file(tmp_path)
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"a\.dng is (damaged|a camera raw photo that LibRaw does not know)") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_a_damaged_jpeg_xl_and_an_animation_are_one_line(tmp_path: Path) -> None:
    import imagecodecs

    content = pylibjxl.encode(make_photo(40, 50), lossless=True)
    (tmp_path / "cut.jxl").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cut\.jxl is damaged"):
        read_image(tmp_path / "cut.jxl")
    (tmp_path / "moves.jxl").write_bytes(imagecodecs.jpegxl_encode(np.stack([make_photo(8, 8)] * 2), lossless=True))
    with pytest.raises(UserError, match=r"moves\.jxl is an animation"):
        read_image(tmp_path / "moves.jxl")


def test_without_the_extras_a_folder_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_file(tmp_path)
    (tmp_path / "b.jxl").write_bytes(b"\xff\x0a")
    monkeypatch.setattr("tfmlc.io.images.formats.has_package", lambda _: False)
    with pytest.raises(UserError, match=r"1 \.dng \(install the extra: pip install 'tfmlc\[raw\]'\)"):
        find_images(tmp_path)
    with pytest.raises(UserError, match=r"b\.jxl is a JPEG XL image: install the extra: pip install 'tfmlc\[jxl\]'"):
        read_image(tmp_path / "b.jxl")


def test_of_live_photos_and_bursts_each_file_is_a_job(tmp_path: Path) -> None:
    """The photo and the video of a live photo; raw beside JPEG; each photo of a burst."""
    pytest.importorskip("av", reason="needs the extra video")
    for name in ("IMG_1.HEIC", "IMG_1.MOV", "DSC_2.NEF", "DSC_2.JPG", "BURST001.jpg", "BURST002.jpg"):
        (tmp_path / name).write_bytes(b"")
    jobs = plan_batch([tmp_path], tmp_path / "out").jobs
    assert [job.target.name for job in jobs] == [
        "BURST001.jpg", "BURST002.jpg", "DSC_2.JPG", "DSC_2.tif", "IMG_1.jpg", "IMG_1.MOV"
    ]  # fmt: skip
