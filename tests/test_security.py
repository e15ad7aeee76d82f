"""What SECURITY.md promises: each promise names tests that exist, and those that belong nowhere else are here."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import pickle
import re
import stat
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any
from urllib.request import Request

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import REPOSITORY
from tfmlc.backbones import BACKBONES
from tfmlc.backbones.pyiqa import FORCED, tensors_only
from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.io.downloads import _StaysEncrypted, download
from tfmlc.io.files import replaced
from tfmlc.io.images import Image, write_image
from tfmlc.io.weights import shipped_backbone
from tfmlc.metrics.registry import METRICS
from tfmlc.results import _commit

SOURCE = REPOSITORY / "src" / "tfmlc"
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0K\x01\x85K\x01\x85\x89}tR"
connections: list[Any] = []


def test_every_promise_names_tests_that_exist() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    promises = re.findall(r"^- \*\*.+?(?=^\n|^- |\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(promises) >= 9
    assert [promise for promise in promises if "`tests/" not in promise] == []
    for path, name in named:
        assert f"def {name}(" in (REPOSITORY / path).read_text(encoding="utf-8"), (path, name)


def archive_of(content: bytes, *more: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        archive.writestr("a/data.pkl", content)
        for number, part in enumerate(more):
            archive.writestr(f"a/data/{number}", part)
    return written.getvalue()


@pytest.mark.parametrize("shared", [False, True])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, shared: bool) -> None:
    content = pickle.dumps({"a": "b" * (1 << 24)}, protocol=2)
    bomb = archive_of(content, compression=zipfile.ZIP_DEFLATED)
    if shared:  # many entries that name the same bytes
        bomb = archive_of(b"\x80\x02N.", *[bytes(1 << 16)] * 100)
        kept = bomb.index(b"PK\3\4", bomb.index(b"a/data/0"))
        names = bomb[bomb.index(b"PK\1\2") :]
        end = names[-22:-6] + kept.to_bytes(4, "little") + names[-2:]
        bomb = bomb[:kept] + names[:-22] + end
    (tmp_path / "a.pth").write_bytes(bomb)
    with pytest.raises(UserError, match="compression is far too high"):
        read_tensors(tmp_path / "a.pth")


def test_a_pickle_does_not_change_the_functions_that_read_it(tmp_path: Path) -> None:
    """A file that is read first could else change what is read from the next."""
    change = b"X\x0c\0\0\0__defaults__X\x01\0\0\0a\x85s"
    content = (
        b"\x80\x02}X\x01\0\0\0aX\x01\0\0\0bsctorch._utils\n_rebuild_tensor_v2\n(N}" + change + b"tb0" + TENSOR + b"."
    )
    (tmp_path / "a.pth").write_bytes(archive_of(content, bytes(4)))
    with pytest.raises(UserError, match="its pickle is damaged"):
        read_tensors(tmp_path / "a.pth")


def test_objects_in_objects_without_end_are_refused(tmp_path: Path) -> None:
    part = b"cmodel\nPart\n)\x81}X\x01\0\0\0a"
    for depth, refused in ((20, False), (3000, True)):
        (tmp_path / "a.pth").write_bytes(
            archive_of(b"\x80\x02" + part * depth + TENSOR + b"sb" * depth + b".", bytes(4))
        )
        with pytest.raises(UserError, match="holds no named tensors") if refused else nullcontext():
            assert list(read_tensors(tmp_path / "a.pth")[0]) == [".".join("a" * depth)]


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("code-ran"),))


@pytest.mark.heavy
def test_code_in_the_weights_of_a_metric_is_not_run(
    empty_metric_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyiqa")
    monkeypatch.chdir(tmp_path)
    empty_metric_cache.mkdir(parents=True)
    torch.save([Code()], empty_metric_cache / "brisque_svm_weights.pth")
    metric = METRICS["brisque"]
    with pytest.raises(UserError, match="metric brisque is not available"):
        metric.compute(np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96, 3), np.uint8))
    assert not (tmp_path / "code-ran").exists()


def test_no_thread_ends_the_guard_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker loads its metrics in threads."""
    monkeypatch.delenv(FORCED, raising=False)
    inside = Event()

    def first() -> None:
        with tensors_only():
            inside.set()
            sleep(0.1)

    def second() -> str | None:
        inside.wait()
        with tensors_only():
            sleep(0.3)
            return os.environ.get(FORCED)

    with ThreadPoolExecutor(2) as pool:
        short, long = pool.submit(first), pool.submit(second)
    assert (short.result(), long.result(), os.environ.get(FORCED)) == (None, "1", None)


def test_every_download_is_encrypted_and_has_a_checksum() -> None:
    for name, row in BACKBONES.items():
        if shipped_backbone(name):
            continue
        assert row.download.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", row.download.sha256)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://localhost/a", "a.pth", "data:,a"])
def test_only_addresses_of_the_web_are_downloaded(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="give an address that starts with https://"):
        download(url, tmp_path / "a")


def test_a_redirect_stays_encrypted() -> None:
    follow, secure = _StaysEncrypted().redirect_request, Request("https://a.invalid/b")
    with pytest.raises(OSError, match="which is not encrypted"):
        follow(secure, io.BytesIO(), 302, "", Any, "http://c.invalid/")  # type: ignore[arg-type]
    followed = follow(secure, io.BytesIO(), 302, "", Any, "https://c.invalid/")  # type: ignore[arg-type]
    assert followed is not None
    assert followed.full_url == "https://c.invalid/"


@pytest.mark.skipif(sys.platform == "win32", reason="modes are those of Unix")
def test_what_replaces_a_private_file_is_private_meanwhile(tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.touch(0o600)
    with replaced(private) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    with replaced(tmp_path / "new.png"):
        pass
    before = os.umask(0)
    os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.png").stat().st_mode) == 0o666 & ~before


def found(pattern: str) -> list[tuple[str, str]]:
    """The files of the package that have a pattern outside of quoted code, and the line."""
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    return [(name, hit[0]) for name, text in texts.items() for hit in re.finditer(rf"(?<![\w.`]){pattern}", text)]


def test_no_shell_no_code_of_files_and_one_program() -> None:
    """Ruff's rules forbid most of it, too, but not all."""
    runs_code = r"(eval|exec|compile|pickle\.loads?|marshal\.loads?|torch\.(jit\.)?load|yaml\.(unsafe_|full_)?load)\("
    assert found(runs_code) == []
    assert found(r"(os\.(system|popen|exec\w+|spawn\w+|startfile)|pty\.spawn|\w+\.create_subprocess_\w+)\(") == []
    assert found(r"(tarfile|\w+\.extract(all)?\(|shutil\.unpack_archive|tempfile\.mktemp|shell=)") == []
    git_and_itself = {
        ("results.py", "subprocess.run(  #"),
        ("bench/growth.py", "subprocess.Popen(command,"),
        ("bench/start.py", "subprocess.run(command,"),
    }
    assert set(found(r"(subprocess\.\w+\(|Popen\()\s*\S+")) == git_and_itself


def test_commands_print_by_the_functions_that_escape() -> None:
    assert {name for name, _ in found(r"(typer\.echo|print)\(") if name.startswith("cli/")} == {"cli/tree.py"}


def test_git_is_asked_about_the_checkout_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "venv" / "site-packages" / "tfmlc"
    installed.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr("tfmlc.results.__file__", str(installed / "results.py"))
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("git was started"))
    assert _commit() is None


def test_only_changed_results_leave_a_commit_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("src/tfmlc/results.py", "results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr("tfmlc.results.__file__", str(tmp_path / "src/tfmlc/results.py"))
    clean = _commit()
    assert clean is not None
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "results/a.json").write_text("2")
    assert _commit() == clean
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of a hook"))
    assert _commit() == clean
    (tmp_path / "src/tfmlc/new.py").touch()
    assert _commit() == f"{clean}-dirty"
    (tmp_path / "src/tfmlc/new.py").unlink()
    (tmp_path / "src/tfmlc/results.py").write_text("2")
    assert _commit() == f"{clean}-dirty"


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo"):
        connections.append(arguments)


@pytest.fixture
def recorded() -> list[Any]:
    """The connections that are made from now on."""
    if _record not in connections:
        connections.append(_record)
        sys.addaudithook(_record)
    connections[:] = [_record]
    return connections


@pytest.mark.heavy
def test_nothing_is_fetched_to_deblur_and_to_score(tmp_path: Path, recorded: list[Any]) -> None:
    from tfmlc.evaluation import score

    pixels = np.zeros((32, 32, 3), np.uint8)
    write_image(tmp_path / "a.png", Image(pixels))
    ran = CliRunner().invoke(app, ["deblur", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")])
    assert ran.exit_code == 0, ran.output
    score(pixels, pixels, metrics=("psnr", "ssim"))
    assert recorded[1:] == []


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # Gradio's
@pytest.mark.parametrize("place", ["a file", "http://127.0.0.1:9/a.png", "https://example.invalid/a.png"])
def test_the_page_takes_uploads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: list[Any], place: str
) -> None:
    """A request that names another file or an address is refused, in every part of the page."""
    pytest.importorskip("gradio")
    from gradio.context import LocalContext
    from gradio.exceptions import Error, InvalidPathError

    from tfmlc.app.limits import Limits
    from tfmlc.app.page import Page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "root"))
    (tmp_path / "secret.png").write_bytes(b"secret")
    named = {"path": place.replace("a file", str(tmp_path / "secret.png")), "meta": {"_type": "gradio.FileData"}}
    blocks = Page(tmp_path / "root", Limits()).blocks
    monkeypatch.setattr(blocks, "has_launched", True)
    LocalContext.blocks.set(blocks)
    for function in blocks.fns.values():
        if function.inputs:
            values = [[named] for _ in function.inputs]
            with pytest.raises((Error, InvalidPathError), match="uploaded"):
                asyncio.run(blocks.preprocess_data(function, values, None))
    assert recorded[1:] == []
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    del blocks
    gc.collect()  # its loops are closed while their warnings are ignored
