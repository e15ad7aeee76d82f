"""A folder tells what it skips, and passes over what nobody means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import make_photo
from tfmlc.errors import UserError
from tfmlc.io.images import Image, find_images, search_images, skipped_line, write_image
from tfmlc.io.video.search import find_videos

NOT_READ = ("a.MP4", "b.gif", "c.gif", "d.psd", "e.mov", "f.exr")
NOT_MEANT = ("notes.txt", "a.xmp", "._a.jpg", ".hidden.png", ".thumbnails/a.jpg", "deeper/.git/b.png", "book.pdf")
DONE = ("10.jpg", "9.jpe", "b.jfif", "c.mpo", "d.avif", "deeper/é.webp", "t.TIF")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("nothing")


def test_a_folder_counts_what_it_skips_and_names_it(tmp_path: Path) -> None:
    fill(tmp_path, *NOT_READ, *NOT_MEANT, *DONE)
    write_image(tmp_path / "photo.png", Image(make_photo(8, 8)))
    for name in ("photo", "photo.bak"):
        (tmp_path / name).write_bytes((tmp_path / "photo.png").read_bytes())
    (tmp_path / "photo.png").unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "deeper", target_is_directory=True)
    (tmp_path / ".linked").symlink_to(tmp_path / "deeper", target_is_directory=True)
    found = search_images(tmp_path)
    assert [str(name) for _, name in found.images] == [
        "9.jpe", "10.jpg", "b.jfif", "c.mpo", "d.avif", "deeper/é.webp", "t.TIF"
    ]  # fmt: skip
    assert not found.errors
    assert skipped_line(found.skipped) == (
        "9 skipped: 2 .gif, 1 .exr, 1 .mov, 1 .mp4, 1 .psd, 1 behind a link to a folder, "
        "1 named .bak (a PNG image: name it .png), 1 without a suffix (a PNG image: name it .png)"
    )


def test_heic_names_its_extra_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfmlc.io.images.formats.has_package", lambda _: False)
    fill(tmp_path, "a.heic", "b.HEIC", "c.mp4")
    line = "3 skipped: 2 .heic (install the extra: pip install 'tfmlc[heic]'), 1 .mp4"
    assert skipped_line(search_images(tmp_path).skipped) == line
    with pytest.raises(UserError) as error:
        find_images(tmp_path)
    assert str(error.value) == f"no images in {tmp_path}: {line}"


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    """Inside a hidden folder, hidden itself, without a suffix, or no file at all: reading it tells."""
    fill(tmp_path, ".cache/photos/a.jpg", ".hidden.jpg", "photo")
    assert [str(name) for _, name in find_images(tmp_path / ".cache" / "photos")] == ["a.jpg"]
    assert find_images(tmp_path / ".hidden.jpg") == [(tmp_path / ".hidden.jpg", Path(".hidden.jpg"))]
    assert find_images(tmp_path / "photo") == [(tmp_path / "photo", Path("photo.png"))]
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nowhere")
    assert find_images(tmp_path / "broken.jpg") == [(tmp_path / "broken.jpg", Path("broken.jpg"))]


def test_special_files_and_broken_links_are_found_as_images_and_left_to_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    found = search_images(tmp_path)
    assert [str(name) for _, name in found.images] == ["broken.png", "pipe.jpg"]
    assert not found.skipped


def test_a_folder_left_out_is_not_searched_nor_reached_by_a_link(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "out/a.jpg", "out/b.mp4")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "out" / "a.jpg")
    found = search_images(tmp_path, leave_out=tmp_path / "out")
    assert [str(name) for _, name in found.images] == ["a.jpg"]
    assert not found.skipped


def test_a_folder_left_out_that_contains_the_searched_one_hides_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "orig/b.jpg", "sel/a.jpg", "sel/v/1.mp4")
    (tmp_path / "sel" / "b.jpg").symlink_to(tmp_path / "orig" / "b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "sel")
    for folder in ("sel", "link"):
        found = search_images(tmp_path / folder, leave_out=tmp_path)
        assert [str(name) for _, name in found.images] == ["a.jpg", "b.jpg"]
        assert [video.name for video in find_videos([tmp_path / folder], leave_out=tmp_path, of_frames=False)] == [
            "v-1"
        ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search every folder")
def test_a_folder_that_cannot_be_searched_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        assert search_images(tmp_path).errors == [f"cannot search {tmp_path / 'closed'}: permission denied"]
    finally:
        (tmp_path / "closed").chmod(0o700)
