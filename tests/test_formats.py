"""Files are told by their first bytes, and each kind gets its own sentence."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.io.images import FORMATS, Image, kind_of_file, kind_of_name, read_image, read_size, write_image


def box(*brands: bytes) -> bytes:
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4) + content


HEADS = {
    "a HEIC photo": box(b"heic", b"mif1", b"heic"),
    "a HEIC photo ": box(b"mif1", b"mif1", b"heix"),
    "an AVIF image": box(b"mif1", b"miaf", b"avif"),
    "an MP4 video": box(b"isom", b"mp41"),
    "a QuickTime video": box(b"qt  "),
    "a Matroska or WebM video": b"\x1aE\xdf\xa3\x01",
    "a Windows Media video": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "an AVI video": b"RIFF\x10\0\0\0AVI LIST",
    "a GIF file": b"GIF87a\1\0\1\0",
    "a camera raw photo": b"II*\0\x10\0\0\0CR\2\0",
    "a camera raw photo ": box(b"crx ", b"isom"),
    "a JPEG XL image": b"\xff\x0a\xfa\x1f",
    "a JPEG XL image ": b"\0\0\0\x0cJXL \r\n\x87\n",
    "an HTML page": b"\xef\xbb\xbf \n<!-- moved --><!DOCTYPE html><p>",
    "an HTML page ": b"<html lang=en>",
    "an SVG drawing": b'<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "x" "y">\n<svg xmlns="z">',
    "an XML file": b"<?xml version='1.0'?><rss>",
    "a PDF document": b"%PDF-1.7\n",
    "a zip archive": b"PK\3\4\x14\0",
    "a Git LFS pointer, not the photo": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "a macOS companion file (AppleDouble)": b"\0\5\x16\7\0\2\0\0Mac OS X",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_recognisable_file_is_said_as_what_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(HEADS[name])
    kind = kind_of_file(path)
    assert kind is not None
    assert kind.name == name.strip()
    if kind.remedy and not kind.is_read:
        with pytest.raises(UserError, match=r"photo\.jpg is ") as caught:
            read_image(path)
        assert str(caught.value) == f"{path} is {kind.name}: {kind.remedy}"


def test_a_camera_raw_file_built_on_tiff_is_told_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.nef"
    PIL.Image.new("RGB", (8, 8)).save(path, "TIFF")
    with pytest.raises(UserError, match=r"is a camera raw photo (that LibRaw does not know: develop it|: install)"):
        read_image(path)


def test_what_is_no_image_at_all_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(range(256)))
    assert kind_of_file(tmp_path / "a.png") is None
    with pytest.raises(UserError, match="is not an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_suffix_is_written_as_its_own_format(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    write_image(tmp_path / f"a{suffix}", Image(photo))
    assert kind_of_file(tmp_path / f"a{suffix}") == kind_of_name(tmp_path / f"a{suffix}")
    assert np.abs(read_image(tmp_path / f"a{suffix}").pixels.astype(int) - photo).mean() < 4
    assert read_size(tmp_path / f"a{suffix}") == (photo.shape[1], photo.shape[0])


@pytest.mark.parametrize("special", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, photo: np.ndarray, special: str) -> None:
    path = Path("/dev/null") if special == "device" else tmp_path / "a.png"
    if special == "pipe":
        os.mkfifo(path)
    with socket.socket(socket.AF_UNIX) as listening:
        if special == "socket":
            listening.bind(str(path))
        for read in (read_image, read_size, kind_of_file):
            with pytest.raises(UserError, match=f"it is a {special}"):
                read(path)
        with pytest.raises(UserError, match=f"it is a {special}"):
            write_atomically(path, b"")


def test_a_link_to_itself_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"cannot write .*a\.png"):
        write_atomically(tmp_path / "a.png", b"")


def test_the_longest_legal_names_are_written(tmp_path: Path, photo: np.ndarray) -> None:
    for name in ("a" * 251 + ".png", "ä" * 125 + ".png"):
        write_image(tmp_path / name, Image(photo))
        assert read_size(tmp_path / name) == (128, 96)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_name_that_is_not_utf8_is_written(tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_image(path, Image(photo))
    assert np.array_equal(read_image(path).pixels, photo)


def test_a_file_that_is_replaced_keeps_its_mode_and_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(0o640)
    tagged = hasattr(os, "setxattr")
    if tagged:
        try:
            os.setxattr(path, "user.tag", b"holiday")
        except OSError:  # a file system without them
            tagged = False
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert not tagged or os.getxattr(path, "user.tag") == b"holiday"


def test_a_file_on_a_disk_without_modes_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a FAT disk of another owner, where no mode can be changed."""

    def chmod(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(os, "chmod", chmod)
    monkeypatch.setattr(Path, "chmod", chmod)
    write_atomically(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600 or os.name == "nt"


def test_a_new_file_has_the_mode_that_the_umask_allows(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"new")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
