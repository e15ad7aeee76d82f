"""One run a folder: refused while another lives, free after any end of it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from tfmlc.cli.tree import one_line_errors
from tfmlc.errors import UserError
from tfmlc.io import locks
from tfmlc.io.files import MACHINE, TEMPORARY, append_line, replaced, temporary_folder
from tfmlc.io.locks import LOCK, claimed, file_lock, folder_lock

HOLD = """
import sys, time
from pathlib import Path
from tfmlc.io.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", before + HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.multiprocess
def test_the_second_run_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with (
        holder(folder) as first,
        pytest.raises(UserError, match=rf"another run of tfmlc \(process {first.pid}\) is working in {folder}"),
        folder_lock(folder),
    ):
        pass
    assert first.returncode == 0
    with folder_lock(folder):
        assert (folder / LOCK).exists()
    assert not list(folder.iterdir())


@pytest.mark.multiprocess
def test_a_killed_run_does_not_block(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        first.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.multiprocess
def test_a_forked_child_that_outlives_its_parent_does_not_block(tmp_path: Path) -> None:
    """As the processes of a data loader do for some seconds after their parent was killed."""
    code = HOLD.replace('print("held", flush=True)', 'os.fork() or (print("held", flush=True), time.sleep(30))')
    code = code.replace("import sys", "import os, sys")  # the child speaks: what it inherited is closed by then
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        try:
            first.send_signal(signal.SIGKILL)
            first.wait()
            with folder_lock(tmp_path):
                pass
        finally:
            os.killpg(first.pid, signal.SIGKILL)


@pytest.mark.multiprocess
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_killed_run_does_not_block_where_files_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Lustre disk that is mounted without flock. There the file itself says who holds the lock."""
    fcntl = pytest.importorskip("fcntl")

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    without = "import errno, fcntl\ndef flock(*_): raise OSError(errno.ENOSYS, '')\nfcntl.flock = flock\n"
    with holder(tmp_path, without) as first:
        with pytest.raises(UserError, match=rf"\(process {first.pid} on .*; if it is dead, remove {tmp_path / LOCK}\)"):
            folder_lock(tmp_path).__enter__()
        first.send_signal(signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path), pytest.raises(UserError, match="another run"), folder_lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(UserError, match="another run"), folder_lock(tmp_path):
        pass


@pytest.mark.multiprocess
def test_waiting_is_for_the_end_of_the_other(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        assert first.stdin is not None
        first.stdin.close()
        with folder_lock(tmp_path, wait=True):
            assert first.wait() == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to"), folder_lock(tmp_path / "file" / "folder"):
        pass


def test_what_killed_runs_left_is_removed_by_the_next_holder(tmp_path: Path) -> None:
    left = f"{TEMPORARY}{os.getpid()}-0a1b2c3d-{MACHINE}"
    lives = f"{TEMPORARY}{os.getppid()}-0a1b2c3d-{MACHINE}"
    elsewhere = f"{TEMPORARY}{os.getpid()}-0a1b2c3d-01234567"
    for folder in (tmp_path, tmp_path / "below"):
        folder.mkdir(exist_ok=True)
        for name in (left, lives, elsewhere):
            (folder / name).touch()
    with file_lock(tmp_path / "scores.json"):
        assert not (tmp_path / left).exists()
        assert (tmp_path / "below" / left).exists()
    with folder_lock(tmp_path), replaced(tmp_path / "below" / "a"):
        with folder_lock(tmp_path / "below"):
            assert len(list((tmp_path / "below").iterdir())) == 4  # with the lock, and what is being written
        (tmp_path / "below" / "a").touch()
    kept = {lives, elsewhere}
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "below"}
    assert {path.name for path in (tmp_path / "below").iterdir()} == {*kept, "a"}


def test_a_temporary_folder_that_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    for process in (dead.pid, os.getppid()):
        (tmp_path / f"{TEMPORARY}{process}-0a1b2c3d-{MACHINE}" / "in").mkdir(parents=True)
    with temporary_folder() as first, temporary_folder() as second:
        assert first.is_dir()
        assert stat.S_IMODE(second.stat().st_mode) == 0o700 or os.name == "nt"
    assert [path.name for path in tmp_path.iterdir()] == [f"{TEMPORARY}{os.getppid()}-0a1b2c3d-{MACHINE}"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_line_for_a_full_disk_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device; finished work is kept"):
        append_line(Path("/dev/full"), "a row")
    with pytest.raises(typer.Exit) as ended, one_line_errors():
        Path("/dev/full").write_text("a row")
    assert ended.value.exit_code == 2


CLAIM = """
import socket, sys
host, place = sys.argv[1:]
socket.gethostname = lambda: host
from pathlib import Path
from tfmlc.io import locks
locks.LEASE_S = 0.6
with locks.claimed(Path(place)) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_claim_holds_while_its_process_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(locks, "LEASE_S", 0.6)
    path = tmp_path / "claims" / "a"
    command = [sys.executable, "-c", CLAIM, socket.gethostname() if machine == "this" else machine, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with claimed(path, wait_s=1.5) as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
    with claimed(path) as mine:
        assert mine is (machine == "this")  # of another machine nobody knows yet
    with claimed(path, wait_s=1.5) as mine:
        assert mine
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("wait_s", [0.9, -1])
def test_the_claim_of_a_process_that_was_killed_while_it_made_it_blocks_nobody(
    tmp_path: Path, wait_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE_S", 0.6)
    claim = tmp_path / "cell"
    claim.write_bytes(b"")
    with claimed(claim) as mine:
        assert not mine  # it may be in the making
    with claimed(claim, wait_s=wait_s) as mine, claimed(claim) as other:
        assert (mine, other) == (True, False)
    assert not claim.exists()
