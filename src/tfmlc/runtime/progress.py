"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich import progress as bars
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

from tfmlc.errors import printable
from tfmlc.runtime.processes import is_first_process

LINE_EVERY_S = 60.0


class Progress:
    """Shows the progress of a number of steps on standard error. Use it as a context manager.

    Of several processes that work together, only the first shows something.

    Args:
        what: A few words about the work.
        total: The number of steps, if it is known.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.console = Console(
            stderr=True, soft_wrap=True, highlight=False, emoji=False, markup=False, quiet=not is_first_process()
        )
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._bar = bars.Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._what, self._total, self._done = printable(what), total, 0
        self._task = TaskID(0)
        self._said = time.monotonic()

    def __enter__(self) -> Progress:
        if self.console.is_terminal:  # else some versions of rich print an empty line
            self._bar.start()
        self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bar on a terminal."""
        self._bar.console.print(printable(line))

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set the number of finished steps; without a terminal, print a line once a minute."""
        self._done, self._total = done, total if total is not None else self._total
        self._bar.update(self._task, completed=done, total=self._total, description=f"{self._what} {note}".rstrip())
        if not self.console.is_terminal and time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            self.say(f"{self._what}: {done} of {self._total if self._total is not None else '?'} {note}".rstrip())

    def advance(self) -> None:
        """Count one more finished step."""
        self.update(self._done + 1)


def readable_duration(seconds: float) -> str:
    """Format a duration for a person.

    >>> readable_duration(50), readable_duration(3000), readable_duration(30000)
    ('50 s', '50 min', '8.3 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
