"""Locks: only one run at a time can use a folder, and machines that share a folder divide the work."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLease, Timeout

from tfmlc.errors import UserError
from tfmlc.io.files import remove_leftovers
from tfmlc.runtime.processes import is_first_process

LOCK = ".tfmlc.lock"
WAIT_FOREVER_S = -1
LEASE_S = 300.0  # several times as long as a network file system may keep an old time of a file


def folder_lock(
    folder: Path, *, wait: bool = False, private: bool = False, result: Path | None = None
) -> AbstractContextManager[None]:
    """Lock a folder for one run; a missing folder is created.

    The operating system releases the lock when the process ends, so the file of a killed run blocks nobody. Where the
    file system cannot lock, this holds for the runs of one machine. Temporary files that killed runs left in the folder
    and below it are removed.

    Args:
        folder: The folder.
        wait: Whether to wait until another run ends.
        private: Whether other users cannot read the folder, if it is created.
        result: The file that the run writes by way of the folder, which the error names; None names the folder.

    Raises:
        UserError: If another run uses the folder, or it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, folder_lock(Path(folder)):
        ...     (Path(folder) / LOCK).exists()
        True
    """
    where = f"in {folder}: wait for it, or choose another folder"
    if result is not None:
        where = f"on {result}: wait for it, or choose another output"
    return _hold(folder / LOCK, where, wait=wait, below=True, mode=0o700 if private else 0o777)


def file_lock(file: Path, *, wait: bool = False) -> AbstractContextManager[None]:
    """Lock one file that a run writes, or wait until another run ends; other files of its folder stay free.

    Temporary files that killed runs left in the folder are removed.
    """
    path = file.with_name(f".{file.name}{LOCK}")
    return _hold(path, f"on {file}: wait for it, or choose another file", wait=wait)


@contextmanager
def _hold(path: Path, where: str, *, wait: bool = False, below: bool = False, mode: int = 0o777) -> Generator[None]:
    lock = FileLock(path, timeout=WAIT_FOREVER_S if wait else 0)
    try:
        path.parent.mkdir(mode, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another run of tfmlc{_holder(path)} is working {where}") from None
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {(error.strerror or str(error)).lower()}") from error
    by_content = hasattr(lock, "pid")  # the file system cannot lock; the file itself then says who holds the lock
    try:
        if not by_content:
            with suppress(OSError):  # some systems also lock the content
                path.write_text(str(os.getpid()), encoding="ascii")
        remove_leftovers(path.parent, below=below)
        yield
    finally:
        if not by_content:
            path.unlink(missing_ok=True)  # before the release, so that a waiting run notices and makes a new file
        lock.release()


@contextmanager
def claimed(path: Path, *, wait_s: float = 0) -> Generator[bool]:
    """Claim a piece of work that several machines which share a folder could do.

    The claim is a file. Its holder touches it as long as it lives, so this works on file systems that cannot lock files
    across machines. The claim of a dead process on this machine is taken over at once, and that of another machine
    after it has not been touched for five minutes, if ``wait_s`` is longer.

    Args:
        path: The file of the claim. Its folder is created.
        wait_s: How long to wait for the claim of another process; -1 waits forever.

    Yields:
        Whether the claim was obtained.

    Raises:
        UserError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, claimed(Path(folder) / "a.lock") as mine:
        ...     with claimed(Path(folder) / "a.lock") as again:
        ...         mine, again
        (True, False)
    """
    lease = SoftFileLease(path, timeout=wait_s, lease_duration=LEASE_S)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(lease, path, wait_s)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {(error.strerror or str(error)).lower()}") from error
    try:
        yield True
    finally:
        lease.release()


def _acquire(lease: SoftFileLease, path: Path, wait_s: float) -> None:
    """Acquire a claim, or raise Timeout.

    A process that is killed while it makes its claim leaves an empty file, which ``SoftFileLease`` respects for ever.
    It is removed when it has not changed for the time of a lease, and a bit more, in which ``SoftFileLease`` takes over
    the claim of a dead machine.
    """
    turn_s = 1.2 * LEASE_S
    end = math.inf if wait_s < 0 else time.monotonic() + wait_s
    while True:
        empty, left = _empty(path), end - time.monotonic()
        try:
            lease.acquire(timeout=max(0.0, min(left, turn_s)))
        except Timeout:
            if left < turn_s:
                raise
            if empty is not None and empty == _empty(path):
                path.unlink(missing_ok=True)
        else:
            return


def _empty(path: Path) -> tuple[int, int] | None:
    """Return what tells an empty file from another one; None if there is none."""
    with suppress(OSError):
        found = path.stat()
        return None if found.st_size else (found.st_ino, found.st_mtime_ns)
    return None


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """Lock the folder of a training, which can run in several processes; the first one locks it for all."""
    return folder_lock(folder) if is_first_process() else nullcontext()


def check_unlocked(folder: Path) -> None:
    """Raise UserError at once if another run uses the folder, before heavy packages are imported."""
    if (folder / LOCK).exists() and is_first_process():
        with folder_lock(folder):
            pass


def _holder(path: Path) -> str:
    """Return which process holds a lock, as its file says."""
    try:
        number, *more = path.read_text(encoding="ascii").splitlines() or [""]
    except (OSError, UnicodeDecodeError):
        return ""
    if not number.isdecimal():
        return ""
    if not more:
        return f" (process {number})"
    machine = more[0].partition("?")[0]  # what follows tells containers apart
    return f" (process {number} on {machine}; if it is dead, remove {path})"  # of another machine nobody can tell
