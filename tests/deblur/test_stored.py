"""Photos in an object store become the bytes that they become on the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clips import Clip, write_clip
from conftest import make_photo
from tfmlc.cli import app
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.batch import plan_batch, run_batch
from tfmlc.errors import UserError
from tfmlc.io.files import MACHINE, TEMPORARY
from tfmlc.io.images import Image, write_image
from tfmlc.io.stores import StoredPath

pytestmark = [pytest.mark.multiprocess, pytest.mark.filterwarnings("default")]  # a server, whose clients warn


@pytest.fixture
def photos(tmp_path: Path, store: Any) -> Path:
    """Photos on the disk, and the same in the bucket."""
    (tmp_path / "in" / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b [x]*?.png", "inner/é.tif"):
        write_image(tmp_path / "in" / name, Image(make_photo(40, 60)))
    (tmp_path / "in" / "damaged.png").write_bytes((tmp_path / "in" / "b [x]*?.png").read_bytes()[:200])
    for path in (tmp_path / "in").rglob("*.*"):
        store.put_file(str(path), f"bucket/in/{path.relative_to(tmp_path / 'in')}")
    return tmp_path / "in"


def test_a_bucket_becomes_what_a_folder_becomes(photos: Path, tmp_path: Path, store: Any) -> None:
    store.pipe({"bucket/in/.hidden.png": b"", "bucket/in/notes.txt": b"", "bucket/in/a//b.png": b""})
    deblurrer = Deblurrer.load("default", precision="fp32")
    plain = list(run_batch(deblurrer, plan_batch([photos], tmp_path / "out", compare=True)))
    batch = plan_batch([Path("s3://bucket/in")], Path("s3://bucket/out"), compare=True)
    stored = list(run_batch(deblurrer, batch))
    made = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert {Path(name).relative_to("bucket/out"): store.cat_file(name) for name in store.find("bucket/out")} == made
    said = [[outcome.error for outcome in outcomes if outcome.error] for outcomes in (plain, stored)]
    assert [line.replace(str(photos), "s3://bucket/in") for line in said[0]] == said[1]
    assert len(said[1]) == 1
    changed = {name: store.modified(name) for name in store.find("bucket/out")}
    again = list(run_batch(deblurrer, plan_batch([Path("s3://bucket/in")], Path("s3://bucket/out"), compare=True)))
    assert sum(outcome.done_before for outcome in again) == 3
    assert {name: store.modified(name) for name in changed} == changed
    assert batch.skipped == {"with a name that is no path, such as a//b": 1}
    assert len(plan_batch([Path("s3://bucket/in/inner")], Path("s3://bucket")).jobs) == 1
    store.pipe({"bucket/empty/": b"", "bucket/empty/inner/": b""})  # markers of folders
    with pytest.raises(UserError, match="no images in s3://bucket/empty: it has no "):
        plan_batch([Path("s3://bucket/empty")], tmp_path / "out")
    own = store.cat_file("bucket/in/a.jpg")
    store.pipe("bucket/other/a-compare.png", own)
    batch = plan_batch([Path("s3://bucket/in/a.jpg")], Path("s3://bucket/other/a.jpg"), compare=True)
    (outcome,) = run_batch(deblurrer, batch)
    assert outcome.error == "s3://bucket/other/a-compare.png is not a comparison and would be overwritten: rename it"
    assert store.cat_file("bucket/other/a-compare.png") == own


def test_from_a_bucket_to_the_disk_and_back(
    photos: Path, tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    left = tmp_path / "temporary" / f"{TEMPORARY}{os.getpid()}-0a1b2c3d-{MACHINE}"  # by a killed worker
    (left / "in").mkdir(parents=True)
    said = CliRunner().invoke(app, ["deblur", "s3://bucket/in/a.jpg", "-o", str(tmp_path / "a.jpg")])
    assert (said.exit_code, "s3://bucket/in/a.jpg -> " in said.output) == (0, True)
    assert not left.exists()
    said = CliRunner().invoke(app, ["deblur", str(photos / "a.jpg"), "-o", "s3://bucket/there.jpg"])
    assert said.exit_code == 0
    assert store.cat_file("bucket/there.jpg") == (tmp_path / "a.jpg").read_bytes()
    store.put_file(str(write_clip(tmp_path / "a.avi", Clip(codec="mpeg4", sound=None))), "bucket/in/a.avi")
    words = ["deblur", "s3://bucket/in/a.avi", "-o", "s3://bucket/kept/", "--only-blurry", "--blurry-px", "100"]
    said = CliRunner().invoke(app, words)
    assert (said.exit_code, store.find("bucket/kept")) == (0, ["bucket/kept/a.avi"]), said.output
    words[3] = "s3://bucket/kept/a.mkv"
    for content, code in ((store.cat_file("bucket/in/a.avi"), 0), (b"another video", 2)):
        store.pipe("bucket/kept/a.avi", content)
        said = CliRunner().invoke(app, words)
        refused = "its copy would replace s3://bucket/kept/a.avi: rename that" in said.output
        assert (said.exit_code, refused) == (code, bool(code)), said.output
        assert store.find("bucket/kept") == ["bucket/kept/a.avi"]
        assert store.cat_file("bucket/kept/a.avi") == content
    said = CliRunner().invoke(app, ["deblur", "s3://bucket/there.jpg", "--in-place"])
    assert (said.exit_code, "it was restored before" in said.output) == (0, True)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["s3://nowhere/in", "-o", "out"], "there is no bucket s3://nowhere"),
        (["s3://bucket/nothing", "-o", "out"], "there is no file or folder s3://bucket/nothing"),
        (["s3://bucket/in", "-o", "s3://nowhere/out"], "there is no bucket s3://nowhere"),
        (["gs://bucket/in", "-o", "out"], "pip install gcsfs"),
        (["s3://bucket/in", "-o", "s3://bucket/in"], "is also the input folder"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_a_place_that_is_none_is_one_line(words: list[str], reason: str) -> None:
    said = CliRunner().invoke(app, ["deblur", *words])
    assert (said.exit_code, said.output.count("\n"), reason in said.output) == (2, 1, True), said.output


def test_no_key_and_no_server_are_one_line(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    type(store).clear_instance_cache()
    said = CliRunner().invoke(app, ["deblur", "s3://bucket/in", "-o", "out"])
    assert (said.exit_code, said.output.count("\n"), "AWS_PROFILE" in said.output) == (2, 1, True), said.output
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    type(store).clear_instance_cache()
    said = CliRunner().invoke(app, ["deblur", "s3://bucket/in", "-o", "out"])
    assert (said.exit_code, said.output.count("\n"), "localhost:1" in said.output) == (2, 1, True), said.output
    type(store).clear_instance_cache()


def test_a_name_is_kept_by_what_is_made_of_it() -> None:
    import pickle

    path = StoredPath("s3://bucket/photos/a.jpg")
    assert pickle.loads(pickle.dumps(path)) == path
    assert str(path.with_suffix(".png")) == "s3://bucket/photos/a.png"
