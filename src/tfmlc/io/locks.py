"""One run a folder: the second is refused while the first lives."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tfmlc.errors import UserError

LOCK = ".tfmlc.lock"
WAIT_FOREVER_S = -1


def folder_lock(folder: Path, *, wait: bool = False) -> AbstractContextManager[None]:
    """Hold a folder, which is made where it is missing, for one run.

    The operating system frees the lock when its process ends, in whatever way: the file that a killed run leaves
    blocks nobody. ``wait``: wait for the other run to end. Raises UserError while another run holds the folder, and
    where the folder cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, folder_lock(Path(folder)):
    ...     (Path(folder) / LOCK).exists()
    True
    """
    return _hold(folder / LOCK, f"in {folder}: wait for it, or choose another folder", wait=wait)


def file_lock(file: Path) -> AbstractContextManager[None]:
    """The same for one file that a run writes; others may be written in its folder."""
    return _hold(file.with_name(f".{file.name}{LOCK}"), f"on {file}: wait for it, or choose another file")


@contextmanager
def _hold(path: Path, where: str, *, wait: bool = False) -> Generator[None]:
    lock = FileLock(path, timeout=WAIT_FOREVER_S if wait else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another run of tfmlc{_holder(path)} is at work {where}") from None
    except OSError as error:
        raise UserError(f"cannot write into {path.parent}: {(error.strerror or str(error)).lower()}") from error
    try:
        with suppress(OSError):  # a system that locks the content as well
            path.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone and makes a new one
        lock.release()


def run_lock(folder: Path) -> AbstractContextManager[None]:
    """The same for a training, which may run in many processes: the first one holds the folder for all."""
    return folder_lock(folder) if _is_first_process() else nullcontext()


def check_unlocked(folder: Path) -> None:
    """Raise UserError at once where another run holds the folder, before heavy packages are loaded."""
    if (folder / LOCK).exists() and _is_first_process():
        with folder_lock(folder):
            pass


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"  # as launchers of many processes set it


def _holder(path: Path) -> str:
    """Which process holds a lock, as its file says."""
    try:
        number = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {number})" if number.isdecimal() else ""
