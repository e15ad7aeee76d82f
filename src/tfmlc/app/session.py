"""The private folder of each visitor of the page: the uploaded files, the results, and their removal."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock


class Stopped(Exception):  # noqa: N818 (it is no error)
    """The visitor stopped the run, or left the page."""


@dataclass
class Session:
    """One visitor.

    Attributes:
        folder: The folder for the runs. Its name cannot be guessed.
        uploads: The uploaded files, in order.
        stop: Set when the run is to stop.
        working: Held while a file is restored, so that its folder is not removed meanwhile.
        closed: Whether the visitor has left.
    """

    folder: Path
    uploads: list[Path] = field(default_factory=list[Path])
    stop: Event = field(default_factory=Event)
    working: Lock = field(default_factory=Lock)
    closed: bool = False

    def begin(self) -> None:
        """Allow a new run."""
        if not self.closed:
            self.stop.clear()

    def check_running(self) -> None:
        """Raise Stopped if the run is to stop."""
        if self.stop.is_set():
            raise Stopped("stopped")

    def new_run(self, uploads: Iterable[Path]) -> tuple[Path, list[Path]]:
        """Remove the files of the last run, and make a folder with the uploaded files of a new one.

        Args:
            uploads: The uploaded files. Two of one name get different names.

        Returns:
            The folder, and the files in it.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        run = self.folder / secrets.token_hex(4)  # another address, so that no browser shows the last results
        (run / "in").mkdir(parents=True)
        files: list[Path] = []
        for upload in uploads:
            file = next(name for name in _names(run / "in" / upload.name) if not name.exists())
            try:
                os.link(upload, file)
            except OSError:
                shutil.copyfile(upload, file)
            files.append(file)
        return run, files

    def close(self) -> None:
        """Stop the run and remove the folder."""
        self.closed = True
        self.stop.set()
        with self.working:
            shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """The visitors of one page, by the key that their browser has.

    Args:
        root: The folder for everything. Uploaded files are in it, too.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._all: dict[str, Session] = {}
        self._lock = Lock()

    def of(self, key: str) -> Session:
        """Return the session of a visitor: a new one if there is none, the closed one if the visitor has left."""
        with self._lock:
            return self._all.setdefault(key, Session(self.root / secrets.token_urlsafe(24)))

    def hold(self, key: str, uploads: Sequence[Path]) -> None:
        """Remember what a visitor has uploaded, and remove what the same visitor has taken back."""
        session = self.of(key)
        with self._lock:
            before, session.uploads = session.uploads, [] if session.closed else list(uploads)
            self._remove([*before, *uploads])

    def close(self, key: str) -> None:
        """Stop the run of a visitor, remove all files, and take no more: the page of one who left has lost them."""
        with self._lock:
            session = self._all.get(key)
            if session is None:
                return
            before, session.uploads, session.closed = session.uploads, [], True
            self._remove(before)
        session.close()

    def _remove(self, uploads: Iterable[Path]) -> None:
        """Remove uploaded files; two visitors with the same file share it, so it stays while one of them needs it."""
        needed = {path for session in self._all.values() for path in session.uploads}
        for path in set(uploads) - needed:
            if self.root in path.parents:
                path.unlink(missing_ok=True)


def _names(path: Path) -> Iterator[Path]:
    """Yield a name, and the same with numbers: ``a.jpg``, ``a-2.jpg``, ``a-3.jpg``."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
