"""Runs of the page without a browser: the files of each visitor, what is refused, stops, and what is removed."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from refused import bad_files
from typer.testing import CliRunner

from tfmlc.app.limits import Limits
from tfmlc.app.session import Session, Sessions
from tfmlc.app.turns import Turns
from tfmlc.app.views import write_views
from tfmlc.app.work import Result, restore_uploads, write_zip
from tfmlc.cli import app
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.batch import plan_batch, run_batch
from tfmlc.deblur.measuring import measure_file
from tfmlc.io.images import Image, read_image, write_image


@pytest.fixture(scope="module")
def deblurrer() -> Deblurrer:
    return Deblurrer.load("default")


def run(deblurrer: Deblurrer, session: Session, uploads: Sequence[Path], **settings: bool) -> list[Result]:
    return list(restore_uploads(deblurrer, session, uploads, Limits(), lambda *_: None, **settings))


def test_a_run_writes_what_the_command_line_writes(tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer) -> None:
    upload = tmp_path / "photo.jpg"
    write_image(upload, Image(photo, resolution=(300, 300)))
    session = Sessions(tmp_path / "root").of("a")
    result, other = run(deblurrer, session, [upload, upload], blur_map=True)
    list(run_batch(deblurrer, plan_batch([upload], tmp_path / "by-hand.jpg")))
    assert result.target is not None
    assert other.target is not None
    assert (result.target.name, other.target.name) == ("photo.jpg", "photo-2.jpg")
    assert result.target.read_bytes() == (tmp_path / "by-hand.jpg").read_bytes()
    assert "px of motion" in result.line
    sizes = {read_image(view).pixels.shape for view in result.views.values()}
    assert sizes == {photo.shape}
    assert set(result.views) == {"before", "after", "map"}
    archive = write_zip([result, other])
    assert archive is not None
    assert zipfile.ZipFile(archive).namelist() == ["photo.jpg", "photo-2.jpg"]


def test_bad_files_are_refused_in_one_line_and_the_others_go_on(
    tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer
) -> None:
    write_image(tmp_path / "good.png", Image(photo))
    uploads = [*bad_files(tmp_path / "bad"), tmp_path / "good.png"]
    results = run(deblurrer, Sessions(tmp_path / "root").of("a"), uploads)
    said = [result.line for result in results]
    assert said[0] == "is empty"
    assert said[1].startswith("is not an image: supported formats are")
    assert said[2] == "is a zip archive: unpack it first"
    assert said[3].startswith("has 20000x15000 px, which is more than the 100 megapixels")
    assert "edges" in said[4]
    assert [result.target is None for result in results] == [True] * 4 + [False]
    assert not any(str(tmp_path) in line for line in said)


def test_uploads_that_would_become_one_file_are_one_line(
    tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer
) -> None:
    write_image(tmp_path / "a.png", Image(photo))
    (tmp_path / "a").write_bytes((tmp_path / "a.png").read_bytes())
    (result,) = run(deblurrer, Sessions(tmp_path / "root").of("a"), [tmp_path / "a", tmp_path / "a.png"])
    assert (result.name, result.target) == ("a.png", None)
    assert result.line == "a and a.png would both become a.png: rename one"


def test_a_result_that_cannot_be_shown_is_there_all_the_same(
    tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, frame: int = 0) -> Image:
        raise MemoryError

    monkeypatch.setattr("tfmlc.app.views.shown", fail)
    write_image(tmp_path / "a.png", Image(photo))
    (result,) = run(deblurrer, Sessions(tmp_path / "root").of("a"), [tmp_path / "a.png"])
    assert result.target is not None
    assert result.views == {}
    assert result.line.endswith(
        "it is not shown here: does not fit into memory: close other programs or split the file"
    )


def test_a_stop_keeps_what_is_done(tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer) -> None:
    uploads = [tmp_path / f"{number}.png" for number in range(3)]
    for upload in uploads:
        write_image(upload, Image(photo))
    session, seen = Sessions(tmp_path / "root").of("a"), list[str]()

    def stop_in_second(what: str, done: int, total: int | None) -> None:
        seen.append(what)
        if what.startswith("1.png") and total is None:
            session.stop.set()

    results = list(restore_uploads(deblurrer, session, uploads, Limits(), stop_in_second))
    assert [result.name for result in results] == ["0.png"]
    assert not any(what.startswith("2.png") for what in seen)
    assert run(deblurrer, session, uploads) == []
    session.begin()
    assert len(run(deblurrer, session, uploads[:1])) == 1


def test_visitors_do_not_mix_and_leave_nothing(tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer) -> None:
    root = tmp_path / "root"
    sessions, uploads = Sessions(root), [root / "1" / "photo.png", root / "2" / "photo.png", root / "3" / "same.png"]
    for upload, shown in zip(uploads, (photo, photo[::-1], photo), strict=True):
        write_image(upload, Image(np.ascontiguousarray(shown)))
    sessions.hold("a", [uploads[0], uploads[2]])
    sessions.hold("b", [uploads[1], uploads[2]])
    first, second = (run(deblurrer, sessions.of(key), [upload])[0] for key, upload in zip("ab", uploads, strict=False))
    assert first.target is not None
    assert second.target is not None
    assert first.target.read_bytes() != second.target.read_bytes()
    assert not set(first.target.parents) & set(second.target.parents) - set(root.parents) - {root}
    sessions.close("a")
    assert not first.target.exists()
    assert not uploads[0].exists()
    assert second.target.exists()
    assert uploads[2].exists()
    sessions.hold("b", [uploads[2]])
    assert not uploads[1].exists()
    closed = sessions.of("b")
    sessions.close("b")
    assert not [path for path in root.rglob("*") if path.is_file()]
    closed.begin()
    assert run(deblurrer, closed, uploads[:1]) == []


def test_a_video_is_restored_and_a_frame_of_it_shown(tmp_path: Path, deblurrer: Deblurrer) -> None:
    from clips import Clip, write_clip

    upload = write_clip(tmp_path / "clip.mp4", Clip(rotation=90, pts=range(0, 4 * 512, 512), sound=None))
    (result,) = run(deblurrer, Sessions(tmp_path / "root").of("a"), [upload])
    assert result.target is not None
    assert result.target.name == "clip.mp4"
    assert {read_image(view).pixels.shape for view in result.views.values()} == {(64, 48, 3)}
    cut = write_clip(tmp_path / "cut.mkv", Clip(width=320, height=240, sound=None))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    (result,) = run(deblurrer, Sessions(tmp_path / "root").of("c"), [cut])
    assert result.target is not None
    assert set(result.views) == {"before", "after"}
    session, uploads = Sessions(tmp_path / "root").of("b"), [upload]
    stopped = restore_uploads(
        deblurrer, session, uploads, Limits(), lambda _, done, __: done == 2 and session.stop.set()
    )
    assert list(stopped) == []
    small = restore_uploads(deblurrer, session, uploads, Limits(megapixels=0.001), lambda *_: None)
    session.begin()
    assert [result.line[:13] for result in small] == ["has 64x48 px,"]


def test_without_gradio_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gradio", "gradio.themes"):
        monkeypatch.setitem(sys.modules, name, None)
    answer = CliRunner().invoke(app, ["app"])
    assert answer.exit_code == 2
    assert answer.stderr == "tfmlc: this command needs the extra app: pip install 'tfmlc[app]'\n"


def test_runs_take_turns_and_one_that_is_stopped_or_left_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfmlc.app.turns.CHECKED_S", 0.01)
    turns, sessions = Turns(), Sessions(tmp_path)
    first, second, third = (sessions.of(key) for key in "abc")
    with ExitStack() as line:
        waiting = [line.enter_context(turns.place(session)) for session in (first, second, third)]
        assert [next(one, 0) for one in waiting] == [0, 1, 2]
        second.stop.set()
        assert next(waiting[1], None) is None
        with first.working:
            first.closed = True
            assert next(waiting[2]) == 2  # it works until the end of a tile
        assert next(waiting[2]) == 1
        sessions.close("b")
        assert next(waiting[2], None) is None
    with turns.place(first) as waits:
        assert next(waits, None) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the limit on the size of files is one of Unix")
def test_a_full_disk_is_said_and_the_results_until_then_stay(
    tmp_path: Path, photo: np.ndarray, deblurrer: Deblurrer
) -> None:
    """A limit on the size of files stands for a full disk."""
    import resource

    uploads = [tmp_path / "small.png", tmp_path / "photo.tif"]
    write_image(uploads[0], Image(np.zeros((16, 16, 3), np.uint8)))
    write_image(uploads[1], Image(photo))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        results = run(deblurrer, Sessions(tmp_path / "root").of("a"), [uploads[0], *uploads])
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        with pytest.raises(OSError, match="too large"):
            write_zip(results)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [result.target is not None for result in results] == [True, True, False]
    assert results[2].line == "cannot write photo.tif: File too large; nothing was changed"


def test_the_score_of_the_page_is_that_of_the_command_line(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 8300, 3)).astype(float)
    blurry = np.mean([np.roll(noise, shift, axis=1) for shift in range(-6, 7)], axis=0)
    write_image(tmp_path / "wide.png", Image(blurry.round().astype(np.uint8)))
    views, score = write_views(tmp_path, tmp_path / "wide.png", tmp_path / "wide.png", blur_map=True)
    assert score == measure_file(tmp_path / "wide.png").score_px
    assert read_image(views["map"]).pixels.shape == read_image(views["before"]).pixels.shape


def test_the_map_of_a_video_is_upright_and_its_score_of_the_whole_video(tmp_path: Path) -> None:
    from clips import Clip, write_clip

    clip = write_clip(tmp_path / "clip.mp4", Clip(rotation=90, pts=range(0, 4 * 512, 512), sound=None))
    views, score = write_views(tmp_path, clip, clip, blur_map=True)
    assert score == measure_file(clip).score_px
    assert read_image(views["map"]).pixels.shape == (64, 48, 3)
