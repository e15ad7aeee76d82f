"""Paths as Windows and macOS see them: drives, devices, case and the forms of accents."""

from __future__ import annotations

import re
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np
import pytest

from conftest import REPOSITORY
from tfmlc.data.datasets import pairs
from tfmlc.data.synthesis.manifest import distinct_stems
from tfmlc.deblur.batch import plan_batch
from tfmlc.errors import UserError
from tfmlc.io.files import ignores_case, inside, one_name
from tfmlc.io.images import Image, find_images, is_image_name, write_image
from tfmlc.results import without_folders

EVERYWHERE = ("../a.png", "a/../../a.png", "/a.png", "a\0b", "a" * 300)
ON_WINDOWS = (
    *(
        "..\\a.png",
        "a\\..\\..\\a.png",
        "\\a.png",
        "C:a.png",
        "C:\\a.png",
        "\\\\server\\share\\a.png",
        "\\\\?\\C:\\a.png",
    ),
    *("CON", "nul.png", "a/COM1.tar.gz", "LPT\u00b9", "AUX .png", "a.png:stream", "a.png ", "a.", "a?.png", "a\nb.png"),
)


@pytest.mark.parametrize("kind", [PurePosixPath, PureWindowsPath])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_names_that_leave_their_folder(name: str, kind: type[PurePath]) -> None:
    with pytest.raises(ValueError, match="is not a valid path inside a folder"):
        inside(name, kind)


@pytest.mark.parametrize("name", ON_WINDOWS)
def test_names_that_leave_their_folder_on_windows_alone(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid path inside a folder"):
        inside(name, PureWindowsPath)
    assert inside(name, PurePosixPath) == name or name.startswith("\\\\") or ".." in name


@pytest.mark.parametrize("name", ["", "a.png", "sharp/a b.png", "console.png", "com.png", "com10.png", "a..b", "é.png"])
def test_names_that_are_files_everywhere(name: str) -> None:
    assert inside(name, PurePosixPath) == inside(name, PureWindowsPath) == name


def test_tests_and_scripts_import_nothing_that_windows_lacks() -> None:
    """A module that is imported at the top of a file keeps the whole file from running."""
    files = (path for folder in ("src", "tests", "benchmarks") for path in (REPOSITORY / folder).rglob("*.py"))
    unix = re.compile(r"^(?:import|from) (?:resource|fcntl|pwd|grp|termios|pty)\b", re.MULTILINE)
    assert [path for path in files if unix.search(path.read_text(encoding="utf-8"))] == []


def test_images_are_known_in_any_case() -> None:
    assert all(is_image_name(Path(name)) for name in ("A.JPG", "b.Png", "c.tIF"))


def test_stems_differ_also_where_case_and_the_form_of_accents_do_not_count() -> None:
    names = [Path(name) for name in ("A.png", "a.png", "caf\u00e9.png", "cafe\u0301.jpg", "STRASSE.png", "straße.jpg")]
    stems = distinct_stems(names)
    assert [stem.name for stem in stems] == ["A", "a-png", "caf\u00e9", "cafe\u0301-jpg", "STRASSE", "straße-jpg"]
    assert len({one_name(stem) for stem in stems}) == len(names)


def test_two_photos_that_would_be_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one/IMG.png", "two/img.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"a photo")
    folders, output = [tmp_path / "one", tmp_path / "two"], tmp_path / "out"
    if not ignores_case(tmp_path):
        assert len(plan_batch(folders, output).jobs) == 2
    monkeypatch.setattr("tfmlc.deblur.planning.ignores_case", lambda _: True)
    with pytest.raises(UserError, match="would both become"):
        plan_batch(folders, output)


@pytest.mark.parametrize("ignored", [False, True])
def test_results_of_formats_that_are_only_read_are_never_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: bool
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("tfmlc.deblur.planning.ignores_case", lambda _: ignored)
    for name in ("a.avi", "a.mpg", "b.3gp", "b.MOV", "c.wmv"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    made = [job.target.name for job in plan_batch([tmp_path / "in"], tmp_path / "out").jobs]
    assert made == ["a.avi.mkv", "a.mpg.mkv", "b.3gp.mov" if ignored else "b.mov", "b.MOV", "c.mkv"]


def test_pairs_have_the_same_names_on_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("blur", "sharp"):
        write_image(tmp_path / side / "inner" / "a.png", Image(np.zeros((8, 8, 3), np.uint8)))

    def found_on_windows(folder: Path) -> list[tuple[Path, PurePath]]:
        return [(path, PureWindowsPath(name)) for path, name in find_images(folder)]

    monkeypatch.setattr(pairs, "find_images", found_on_windows)
    assert [pair.name for pair in pairs.find_pairs(tmp_path)] == ["inner/a.png"]


def test_whether_case_counts_is_seen_without_writing(tmp_path: Path) -> None:
    (tmp_path / "Letters").mkdir()
    assert ignores_case(tmp_path / "Letters" / "1" / "2") == (tmp_path / "lETTERS").exists()
    (tmp_path / "lETTERS").symlink_to(tmp_path / "Letters")  # what such a file system answers
    assert ignores_case(tmp_path / "Letters" / "1" / "2")
    assert list((tmp_path / "Letters").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "output", "said"),
    [
        ("A.JPG", "a.jpg", "is also an input and would be overwritten"),
        ("Photos", "photos", "is also the input folder"),
        ("Photos", "photos/sharp", ""),
    ],
)
def test_no_name_of_an_input_is_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, output: str, said: str
) -> None:
    """Where case is ignored, a.jpg is A.JPG, and the results of an earlier run in photos/sharp are no inputs."""
    monkeypatch.setattr("tfmlc.deblur.planning.ignores_case", lambda _: True)
    monkeypatch.setattr("tfmlc.io.files.ignores_case", lambda _: True)
    for name in ("A.JPG", "Photos/a.png", "Photos/Sharp/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"a photo")
    if said:
        with pytest.raises(UserError, match=said):
            plan_batch([tmp_path / given], tmp_path / output)
    else:
        (job,) = plan_batch([tmp_path / given], tmp_path / output).jobs
        assert job.source == tmp_path / "Photos" / "a.png"


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (r"C:\Users\me\photos", "photos"),
        (r"data=[d:/sets/a b/GoPro, E:\x]", "data=[GoPro, x]"),
        (r"runs\a", r"runs\a"),
        ("loss:1", "loss:1"),
        ("/home/a b/secret sets/photos", "photos"),
        ("data.pairs=/home/me/a:b", "data.pairs=a:b"),
        ("-o/home/me/x.json", "-ox.json"),
        ("sets=[/home/a b/GoPro, more]", "sets=[GoPro, more]"),
        ("s3://bucket/a/b.jpg", "s3://bucket/a/b.jpg"),
    ],
)
def test_results_do_not_reveal_folders(argument: str, said: str) -> None:
    assert without_folders(argument) == said
