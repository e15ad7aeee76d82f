"""Turns of the visitors: one run works at a time, and the others wait in the order in which they came."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

from tfmlc.app.session import Session

MOST_WAITING, CHECKED_S = 100, 0.5


class Turns:
    """The line of the runs of one page; the first one works."""

    def __init__(self) -> None:
        self._line: dict[object, Session] = {}
        self._lock = Lock()

    @contextmanager
    def place(self, session: Session) -> Generator[Generator[int]]:
        """Take a place in the line, and leave it at the end.

        Args:
            session: The visitor.

        Yields:
            A generator, which yields the number of runs that come first, again and again, until there is none or the
            visitor stops the run.
        """
        ticket = object()
        with self._lock:
            self._line[ticket] = session
        try:
            yield self._wait(ticket, session)
        finally:
            with self._lock:
                self._line.pop(ticket, None)

    def _wait(self, ticket: object, session: Session) -> Generator[int]:
        while (before := self._before(ticket)) and not session.stop.is_set():
            yield before
            session.stop.wait(CHECKED_S)

    def _before(self, ticket: object) -> int:
        with self._lock:
            for other, session in list(self._line.items()):
                if session.closed and not session.working.locked():
                    del self._line[other]  # the visitor has left
            return list(self._line).index(ticket) if ticket in self._line else 0
