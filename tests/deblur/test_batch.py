"""A batch survives every file, tells what it skips, and does nothing twice."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import psutil
import pytest
import tifffile

from conftest import REPOSITORY, make_photo, small_network
from round_trip.blocks import UNDEFINED, Tag
from round_trip.sources import tiff
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.batch import Outcome, plan_batch, run_batch
from tfmlc.deblur.marks import content_of, mark_of
from tfmlc.errors import UserError
from tfmlc.io.files import MACHINE, TEMPORARY, write_atomically
from tfmlc.io.images import Image, read_image, write_image
from tfmlc.io.locks import LOCK, folder_lock
from tfmlc.networks import save_network

KILLS = REPOSITORY / "benchmarks" / "faults" / "run.py"
SUFFIXES = (".jpg", ".png", ".webp", ".avif", ".tif", ".bmp")


@pytest.fixture(scope="module")
def deblurrer() -> Deblurrer:
    return Deblurrer(small_network(), precision="fp32")


def save(path: Path, height: int = 40, width: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(make_photo(height, width)))
    return path


def run(deblurrer: Deblurrer, *inputs: Path, output: Path | None = None, again: bool = False) -> dict[str, Outcome]:
    batch = plan_batch(inputs, output, in_place=output is None)
    return {outcome.job.source.name: outcome for outcome in run_batch(deblurrer, batch, again=again)}


def done(outcomes: dict[str, Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if not outcome.done_before and outcome.error is None}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# A batch survives every file.


@pytest.mark.slow
def test_thousands_of_files_leave_nothing_open(tmp_path: Path, deblurrer: Deblurrer) -> None:
    resource: Any = pytest.importorskip("resource", reason="the limit on open files is one of Unix")
    folder, first = tmp_path / "in", save(tmp_path / "in" / "0.png", 16, 16)
    for number in range(1, 2000):
        os.link(first, folder / f"{number}.png")
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(b"no photo")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 30, limits[1]))
    try:
        batch = plan_batch([folder], tmp_path / "out")
        outcomes = list(run_batch(deblurrer, batch))
        again = list(run_batch(deblurrer, batch))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    failed = [outcome.job.source.name for outcome in outcomes if outcome.error]
    assert (len(outcomes), failed) == (2003, ["0.jpg", "1.jpg", "2.jpg"])
    assert len(list((tmp_path / "out").iterdir())) == 2000
    assert sum(outcome.done_before for outcome in again) == 2000


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, deblurrer: Deblurrer) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "device.jpg").symlink_to("/dev/zero")
    (folder / "broken.jpg").symlink_to(folder / "nowhere")
    (folder / "turns.jpg").symlink_to(folder / "turns.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has 100 bytes
        server.bind("socket.png")
        os.chdir(here)
        outcomes = run(deblurrer, folder, output=tmp_path / "out")
    assert done(outcomes) == {"a.png"}
    reasons = {name: outcome.error or "" for name, outcome in outcomes.items()}
    assert "it is a pipe" in reasons["pipe.jpg"]
    assert "it is a device" in reasons["device.jpg"]
    assert "it is a socket" in reasons["socket.png"]
    assert "no such file" in reasons["broken.jpg"]
    assert "too many levels of symbolic links" in reasons["turns.jpg"]


def test_an_error_of_any_type_is_its_files_line(
    tmp_path: Path, deblurrer: Deblurrer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnforeseenError(Exception):
        pass

    def read(path: Path, *, allow_large: bool) -> Image:
        raise {"a.png": UnforeseenError("odd\nentry"), "b.png": RecursionError(), "c.png": MemoryError()}[path.name]

    for name in ("a", "b", "c"):
        save(tmp_path / "in" / f"{name}.png")
    monkeypatch.setattr("tfmlc.deblur.batch.read_image", read)
    outcomes = run(deblurrer, tmp_path / "in", output=tmp_path / "out")
    assert [outcome.error for outcome in outcomes.values()] == [
        f"{tmp_path / 'in' / 'a.png'} cannot be processed: odd entry (UnforeseenError)",
        f"{tmp_path / 'in' / 'b.png'} cannot be processed: RecursionError",
        f"{tmp_path / 'in' / 'c.png'} does not fit into memory: close other programs or split the file",
    ]


def test_a_photo_that_seems_too_large_is_its_files_line_unless_it_is_allowed(
    tmp_path: Path, deblurrer: Deblurrer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, height in (("large", 400), ("small", 40)):
        save(tmp_path / "in" / f"{name}.png", height)
    monkeypatch.setattr(
        "tfmlc.io.images.reading.free_bytes", lambda: 200_000
    )  # 400 x 60 px need at least 240,000 bytes
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    large, small = run_batch(deblurrer, batch)
    assert large.error is not None
    assert "60x400 px" in large.error
    assert (large.option, small.error) == ("allow_large", None)
    large, small = run_batch(deblurrer, batch, allow_large=True)
    assert (large.error, large.done_before, small.done_before) == (None, False, True)
    assert read_image(tmp_path / "out" / "large.png", allow_large=True).pixels.shape == (400, 60, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_legal_name_is_restored(tmp_path: Path, deblurrer: Deblurrer, suffix: str) -> None:
    names = (b"a" * (255 - len(suffix)), b"caf\xe9", b"two\nlines", b"\x1b[31mred", b"[red]:cat:[b]", b" -o ", b"%s{0}")
    names = tuple(os.fsdecode(name + suffix.encode()) for name in names)
    saved = save(tmp_path / f"a{suffix}")
    for name in names:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(saved, tmp_path / "in" / name)
    outcomes = run(deblurrer, tmp_path / "in", output=tmp_path / "out")
    assert done(outcomes) == set(names)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    assert done(run(deblurrer, tmp_path / "in")) == set(names)
    assert {path.name for path in (tmp_path / "in").iterdir()} == set(names)


def test_comparisons_of_long_names_have_names_of_their_own(tmp_path: Path, deblurrer: Deblurrer) -> None:
    for last in ("a", "b", "é"):
        save(tmp_path / "in" / f"{'é' * 123}{'c' * 3}{last}.jpg")
    outcomes = list(run_batch(deblurrer, plan_batch([tmp_path / "in"], in_place=True, compare=True)))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    comparisons = {outcome.job.comparison for outcome in outcomes}
    assert len(comparisons) == 3
    assert all(path is not None and read_image(path).pixels.shape == (40, 124, 3) for path in comparisons)
    assert len(plan_batch([tmp_path / "in"], in_place=True).jobs) == 3


def test_a_comparison_replaces_nothing_else(tmp_path: Path, deblurrer: Deblurrer) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "a-compare.png", "a.png.jpg", "a.jpg"):
        save(folder / name, 30, 30)
    named = [folder / name for name in ("a.png.jpg", "a-compare.png", "a.jpg", "a.png")]
    assert [outcome.error for outcome in run_batch(deblurrer, plan_batch(named, out, compare=True))] == [None] * 4
    sizes = {path.name: read_image(path).pixels.shape[1] for path in out.iterdir()}
    assert sorted(name for name, width in sizes.items() if width == 30) == sorted(path.name for path in named)
    assert len(sizes) == 8
    own = (folder / "a-compare.png").read_bytes()
    for _ in range(2):
        list(run_batch(deblurrer, plan_batch([folder], in_place=True, compare=True)))
        assert (folder / "a-compare.png").read_bytes() == own
        assert len(list(folder.iterdir())) == 4 + 3


def test_a_name_that_is_given_twice_is_restored_once(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photo = save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").symlink_to(photo)
    other = tmp_path / "in" / ".." / "in" / "a.png"
    to_folder = plan_batch([tmp_path / "in", photo, other], tmp_path / "out")
    assert [job.target.name for job in to_folder.jobs] == ["a.png", "b.png"]
    in_place = plan_batch([photo, other, tmp_path / "in"], in_place=True)
    assert [job.source for job in in_place.jobs] == [photo]


def test_photos_that_would_become_one_file_are_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "one" / "a.png"), save(tmp_path / "other" / "a.png")
    with pytest.raises(UserError, match="would both become"):
        plan_batch([one, other], tmp_path / "out")


def test_errors_name_a_parameter_and_no_option_of_the_command_line(tmp_path: Path) -> None:
    photo = save(tmp_path / "a.png")
    for inputs, output in (([photo], tmp_path), ([tmp_path], tmp_path)):
        with pytest.raises(UserError) as error:
            plan_batch(inputs, output)
        assert error.value.option == "in_place"
        assert " -" not in str(error.value)


# Doing it again does no harm.


def test_what_is_made_is_not_made_again(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    for suffix in SUFFIXES:
        save(photos / f"a{suffix}")
    names = {f"a{suffix}" for suffix in SUFFIXES}
    assert done(run(deblurrer, photos, output=out)) == names
    first = content(out)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert all(outcome.done_before for outcome in run(deblurrer, photos, output=out).values())
    assert times == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert done(run(deblurrer, photos, output=out, again=True)) == names
    assert content(out) == first


def test_what_is_missing_stale_or_of_another_kind_is_made_again(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    for name in "abcdef":
        save(photos / f"{name}.png")
    run(deblurrer, photos, output=out)
    (out / "a.png").unlink()
    os.utime(photos / "b.png", (4e9, 4e9))  # newer than its result
    before = (out / "c.png").stat()
    save(photos / "c.png", 50, 50)  # another photo, put there with an old date
    os.utime(photos / "c.png", (before.st_atime - 99, before.st_mtime - 99))
    (out / "d.png").write_bytes((out / "d.png").read_bytes()[:100])
    save(out / "e.png")  # not made here
    assert done(run(deblurrer, photos, output=out)) == {"a.png", "b.png", "c.png", "d.png", "e.png"}
    os.utime(photos / "b.png")
    assert not done(run(deblurrer, photos, output=out)) - {"b.png"}


@pytest.mark.parametrize("ahead", [False, True])
def test_photos_of_equal_size_that_change_places_are_made_again(
    tmp_path: Path, deblurrer: Deblurrer, ahead: bool
) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.bmp", "b.bmp", "c.bmp"):
        save(photos / name)
    write_image(photos / "b.bmp", Image(make_photo(40, 60)[::-1].copy()))
    for path in photos.iterdir() if ahead else ():
        os.utime(path, (4e9, 4e9))
    run(deblurrer, photos, output=out)
    before = content(out)
    (photos / "a.bmp").rename(photos / "x")
    (photos / "b.bmp").rename(photos / "a.bmp")
    (photos / "x").rename(photos / "b.bmp")
    assert done(run(deblurrer, photos, output=out)) == {"a.bmp", "b.bmp"}
    assert (content(out)["a.bmp"], content(out)["b.bmp"]) == (before["b.bmp"], before["a.bmp"])
    assert not done(run(deblurrer, photos, output=out))
    shutil.copytree(photos, tmp_path / "copied")  # its times of change are new
    assert not done(run(deblurrer, tmp_path / "copied", output=out))


def test_results_with_a_mark_of_an_early_version_are_not_made_again(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photo = save(tmp_path / "in" / "a.png")
    run(deblurrer, tmp_path / "in", output=tmp_path / "out")
    result = read_image(tmp_path / "out" / "a.png")
    early = f"by {deblurrer.fingerprint} from {photo.stat().st_size} bytes"
    assert str(result.restored).startswith(f"{early} of ")
    write_image(tmp_path / "out" / "a.png", replace(result, restored=early))
    assert not done(run(deblurrer, tmp_path / "in", output=tmp_path / "out"))


def test_large_files_are_told_apart_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfmlc.deblur.marks.PIECE_BYTES", 2)
    for size, places in ((128, range(128)), (1000, (0, 1, 998, 999))):
        seen = set[str]()
        for place in (None, *places):
            data = bytearray(size)
            if place is not None:
                data[place] = 1
            (tmp_path / "a").write_bytes(data)
            seen.add(content_of(tmp_path / "a"))
        assert len(seen) == 1 + len(places)


def test_same_model_and_settings_are_told_by_content(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photos, out = tmp_path / "in", tmp_path / "out"
    save(photos / "a.png")
    run(deblurrer, photos, output=out)
    for number, half in enumerate((False, True)):
        save_network(tmp_path / f"{number}.safetensors", small_network(), origin="", licence="", half=half)
    same, rounded = (Deblurrer.load(tmp_path / f"{number}.safetensors", precision="fp32") for number in (0, 1))
    assert not done(run(same, photos, output=out))
    for other in (
        rounded,
        Deblurrer(small_network(1), precision="fp32"),
        Deblurrer(small_network(), precision="bf16"),
        Deblurrer(small_network(), precision="fp32", tile_px=32),
        Deblurrer(small_network(), precision="fp32", overlap_px=8),
    ):
        assert done(run(other, photos, output=out)) == {"a.png"}


def test_one_photo_that_is_named_is_always_restored(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photo = save(tmp_path / "a.png")
    for _ in range(2):
        assert done(run(deblurrer, photo, output=tmp_path / "out.png")) == {"a.png"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_in_place_restores_nothing_twice(tmp_path: Path, deblurrer: Deblurrer, suffix: str) -> None:
    photo = save(tmp_path / "in" / f"a{suffix}")
    assert done(run(deblurrer, photo.parent)) == {photo.name}
    once = photo.read_bytes()
    other = Deblurrer(small_network(1), precision="fp32")
    for again in ((deblurrer, photo), (deblurrer, photo.parent), (other, photo)):
        assert run(*again)[photo.name].done_before
    moved = tmp_path / "elsewhere" / f"renamed{suffix}"
    moved.parent.mkdir()
    shutil.move(photo, moved)
    assert run(deblurrer, moved.parent)[moved.name].done_before
    assert moved.read_bytes() == once
    with pytest.raises(UserError, match="their originals are gone"):
        run(deblurrer, moved, again=True)


def test_a_result_is_not_restored_in_place_and_noted_elsewhere(tmp_path: Path, deblurrer: Deblurrer) -> None:
    save(tmp_path / "in" / "a.png")
    run(deblurrer, tmp_path / "in", output=tmp_path / "out")
    assert run(deblurrer, tmp_path / "out")["a.png"].done_before
    second = run(deblurrer, tmp_path / "out", output=tmp_path / "second")["a.png"]
    assert second.notes == ("it was restored before",)
    assert "was restored before" not in str(run(deblurrer, tmp_path / "in" / "a.png", output=tmp_path / "x.png"))


@pytest.mark.parametrize("compare", [False, True])
def test_comparisons_of_an_earlier_run_are_no_photos(tmp_path: Path, deblurrer: Deblurrer, compare: bool) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "a.jpg", "b.png"):
        save(folder / name)
    outcomes = list(run_batch(deblurrer, plan_batch([folder], in_place=True, compare=True)))
    assert all(outcome.error is None for outcome in outcomes)
    (folder / "b.png").rename(folder / "c.png")  # its comparison is told by its mark
    before = content(folder)
    batch = plan_batch([folder], in_place=True, compare=compare)
    assert [job.source.name for job in batch.jobs] == ["a.jpg", "a.png", "c.png"]
    assert dict(batch.skipped) == {"named *-compare.png (from an earlier run)": 3}
    assert all(outcome.done_before for outcome in run_batch(deblurrer, batch))
    assert content(folder) == before


def test_a_comparison_that_is_asked_for_later_is_made(tmp_path: Path, deblurrer: Deblurrer) -> None:
    save(tmp_path / "in" / "a.png")
    run(deblurrer, tmp_path / "in", output=tmp_path / "out")
    batch = plan_batch([tmp_path / "in"], tmp_path / "out", compare=True)
    assert not next(run_batch(deblurrer, batch)).done_before
    assert next(run_batch(deblurrer, batch)).done_before
    assert mark_of(tmp_path / "out" / "a-compare.png") == "comparison"


def losing(name: str) -> bytes:
    """A photo with a part that no new file of its name keeps."""
    pixels = make_photo(40, 60)
    png = imagecodecs.png_encode(pixels)
    if name == "layers.tif":
        return tiff(pixels, 2, tags=(Tag(37724, UNDEFINED, b"Adobe Photoshop Document Data Block\0"),))
    if name == "masked.tif":
        buffer = io.BytesIO()
        with tifffile.TiffWriter(buffer) as file:
            file.write(pixels, photometric="rgb", metadata=None)
            file.write(pixels[..., 0] > 99, photometric=4, metadata=None, subfiletype=4)
        return buffer.getvalue()
    if name == "trailer.png":
        return png + b"more"
    if name in ("moving.avif", "trailer.avif", "trailer.webp"):
        buffer = io.BytesIO()
        PIL.Image.fromarray(pixels).save(buffer, Path(name).suffix[1:])
        behind = struct.pack(">I4s", 16, b"mpvd") + b"a video." if name == "moving.avif" else b"a video"
        return buffer.getvalue() + behind
    if name == "named.jpg":
        return imagecodecs.png_encode(np.dstack([pixels, pixels[..., :1]]))
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue() + b"a video"


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("layers.tif", "Photoshop's layers are left out"),
        ("masked.tif", "copies or masks of the image are left out"),
        ("trailer.png", "4 bytes after the end of the PNG are left out"),
        ("moving.avif", "the box mpvd is left out"),
        ("trailer.avif", "7 bytes after the end of the AVIF are left out"),
        ("trailer.webp", "7 bytes after the end of the WebP are left out"),
        ("named.jpg", "no alpha channel"),
        ("named.png", "PNG cannot store"),
    ],
)
def test_in_place_nothing_is_lost_for_good(tmp_path: Path, deblurrer: Deblurrer, name: str, lost: str) -> None:
    content = losing(name)
    (tmp_path / name).write_bytes(content)
    outcome = run(deblurrer, tmp_path / name)[name]
    assert lost in (outcome.error or "")
    assert (outcome.error or "").endswith("): choose another output")
    assert outcome.option == "output"
    assert (tmp_path / name).read_bytes() == content
    outcome = run(deblurrer, tmp_path / name, output=tmp_path / "out" / name)[name]
    assert any(lost in note for note in outcome.notes)


def test_heic_becomes_jpeg_and_is_not_written_in_place(tmp_path: Path, deblurrer: Deblurrer) -> None:
    for name in ("a.heic", "b.heic", "b.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    pytest.importorskip("pi_heif")
    batch = plan_batch([tmp_path / "in"], tmp_path / "out")
    assert [job.target.name for job in batch.jobs] == ["a.jpg", "b.heic.jpg", "b.jpg"]
    in_place = plan_batch([tmp_path / "in"], in_place=True)
    assert [job.source.name for job in in_place.jobs] == ["b.jpg"]
    assert dict(in_place.skipped) == {".heic (cannot be written: choose an output folder)": 2}


# Two runs in one folder.


def test_the_second_run_in_a_folder_is_refused(tmp_path: Path, deblurrer: Deblurrer) -> None:
    save(tmp_path / "in" / "a.png")
    for output, folder in ((tmp_path / "out", tmp_path / "out"), (None, tmp_path / "in")):
        batch = plan_batch([tmp_path / "in"], output, in_place=output is None)
        with folder_lock(folder):
            with pytest.raises(UserError, match="another run of tfmlc"):
                next(run_batch(deblurrer, batch))
            with pytest.raises(UserError, match="another run of tfmlc"):
                plan_batch([tmp_path / "in"], output, in_place=output is None)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / LOCK).touch()  # of a killed run
    assert done(run(deblurrer, tmp_path / "in", output=tmp_path / "out")) == {"a.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png"}


def test_photos_that_are_named_one_by_one_need_no_lock(tmp_path: Path, deblurrer: Deblurrer) -> None:
    """As xargs and parallel start them."""
    photo = save(tmp_path / "in" / "a.png")
    with folder_lock(tmp_path / "out"), folder_lock(tmp_path / "in"):
        assert done(run(deblurrer, photo, output=tmp_path / "out")) == {"a.png"}
        assert done(run(deblurrer, photo)) == {"a.png"}


def test_a_folder_that_is_given_under_two_names_is_locked_once(tmp_path: Path, deblurrer: Deblurrer) -> None:
    first, second = save(tmp_path / "in" / "a.png"), save(tmp_path / "in" / "b.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert done(run(deblurrer, first, tmp_path / "link" / second.name)) == {"a.png", "b.png"}


# Interruptions.


def test_what_killed_runs_left_is_removed_and_what_lives_is_left(tmp_path: Path, deblurrer: Deblurrer) -> None:
    save(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    write_atomically(out / f"{TEMPORARY}{dead.pid}-0a1b2c3d", b"half")
    write_atomically(out / f"{TEMPORARY}{os.getpid()}-0a1b2c3d", b"half")  # in a container all runs have one number
    write_atomically(out / f"{TEMPORARY}{os.getppid()}-0a1b2c3d", b"half")
    write_atomically(out / f"{TEMPORARY}notes", b"of the user")
    write_atomically(out / f"{TEMPORARY}20261126160000-notes", b"of the user")
    run(deblurrer, tmp_path / "in", output=out)
    assert {path.name for path in out.iterdir()} == {
        "a.png", f"{TEMPORARY}{os.getppid()}-0a1b2c3d", f"{TEMPORARY}notes", f"{TEMPORARY}20261126160000-notes"
    }  # fmt: skip


def test_what_a_killed_run_left_beside_one_photo_is_removed(tmp_path: Path, deblurrer: Deblurrer) -> None:
    photo = save(tmp_path / "a.png")
    (tmp_path / f"{TEMPORARY}{os.getpid()}-0a1b2c3d-{MACHINE}").touch()
    (tmp_path / f"{TEMPORARY}{os.getpid()}-0a1b2c3d-01234567").touch()  # of another machine, which may be at work
    run(deblurrer, photo, output=tmp_path / "b.png")
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.png", "b.png", f"{TEMPORARY}{os.getpid()}-0a1b2c3d-01234567"
    }  # fmt: skip


def test_a_photo_of_the_future_is_made_once(tmp_path: Path, deblurrer: Deblurrer) -> None:
    """The clock of a camera, or of the computer itself, was wrong."""
    photo = save(tmp_path / "in" / "a.png")
    os.utime(photo, (4e9, 4e9))
    assert done(run(deblurrer, tmp_path / "in", output=tmp_path / "out")) == {"a.png"}
    assert not done(run(deblurrer, tmp_path / "in", output=tmp_path / "out"))


def test_an_interruption_frees_the_folder(tmp_path: Path, deblurrer: Deblurrer) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name)
    outcomes = run_batch(deblurrer, plan_batch([tmp_path / "in"], tmp_path / "out"))
    next(outcomes)
    outcomes.close()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png"}
    assert done(run(deblurrer, tmp_path / "in", output=tmp_path / "out")) == {"b.png"}


def kill(tmp_path: Path, job: str, kills: int) -> None:
    command = [sys.executable, str(KILLS), job, "--kills", str(kills), "--seed", "1", "--output", str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert f"{job}: {kills} kills" in made.stdout


@pytest.mark.multiprocess
def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    kill(tmp_path, "deblur folder", 2)


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.parametrize("job", ["deblur in place", "synthesize", "evaluate", "train", "adapt"])
def test_runs_killed_at_random_go_on_where_they_stood(tmp_path: Path, job: str) -> None:
    kill(tmp_path, job, 6)


HEARS_CTRL_C = (  # which a job in the background does not
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tfmlc.cli import main; main()"
)


@pytest.mark.multiprocess
def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "in" / f"{number}.png", 200, 200)
    command = [sys.executable, "-c", HEARS_CTRL_C, "deblur", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert " -> " in first
    assert said.splitlines()[-1] == "tfmlc: interrupted; finished work is kept, run the same command to continue"
    assert process.returncode == 130
    assert not list((tmp_path / "out").glob(".*"))
    PIL.Image.open(tmp_path / "out" / "0.png").load()
    assert np.array_equal(read_image(tmp_path / "in" / "0.png").pixels, make_photo(200, 200))
