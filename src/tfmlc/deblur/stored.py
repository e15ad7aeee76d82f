"""Deblurring of files in object stores: the job is done on copies on the disk, and its results are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from filecmp import cmp
from pathlib import Path

from tfmlc.deblur.keeping import would_replace
from tfmlc.deblur.marks import COMPARISON, mark_of
from tfmlc.deblur.planning import Job, Outcome
from tfmlc.errors import UserError
from tfmlc.io.files import temporary_folder
from tfmlc.io.stores import StoredPath


def by_copies(restore: Callable[[Job], Outcome], job: Job) -> Outcome:
    """Restore a file; a file of a store by copies on the disk.

    An existing result is fetched, too, so that ``restore`` recognizes what is done.

    Args:
        restore: Restores a file on the disk.
        job: The job; each of its files is on the disk or in a store.

    Returns:
        The outcome, with the names of the job.
    """
    if not any(isinstance(path, StoredPath) for path in (job.source, job.target)):
        return restore(job)
    try:
        with temporary_folder() as folder:
            names = {job.source: "in", job.target: "out", job.comparison: "beside"}
            copies = {
                path: folder / place / path.name if isinstance(path, StoredPath) else path
                for path, place in names.items()
                if path is not None
            }
            for path, copy in copies.items():
                if isinstance(path, StoredPath) and (path == job.source or path.is_file()):
                    path.fetch(copy)
            comparison = None if job.comparison is None else copies[job.comparison]
            if comparison is not None and comparison.is_file() and mark_of(comparison) != COMPARISON:
                raise UserError(f"{job.comparison} is not a comparison and would be overwritten: rename it")
            here = Job(copies[job.source], copies[job.target], comparison)
            outcome = restore(here)
            if (made := outcome.job.target) != here.target:  # a video that is kept
                job = replace(job, target=job.target.with_name(made.name))
                copies.setdefault(job.target, made)
                _check_replaces_nothing(job, made, outcome.notes[0], folder)
            unchanged = outcome.done_before or (outcome.kept and job.target == job.source)
            if outcome.error is None and not unchanged:
                _send(copies, job)
            return _with_names(replace(outcome, job=job), copies)
    except Exception as error:  # clients of stores raise many types; the other files continue
        return Outcome.failed(job, error)


def _check_replaces_nothing(job: Job, made: Path, why: str, folder: Path) -> None:
    """Raise UserError if the copy of a video that is kept would replace another object; ``keep`` sees the disk."""
    if isinstance(job.target, StoredPath) and job.target != job.source and job.target.is_file():
        job.target.fetch(there := folder / "there" / job.target.name)
        if not cmp(made, there, shallow=False):
            raise UserError(would_replace(job, why))


def _send(copies: dict[Path, Path], job: Job) -> None:
    for path in (job.comparison, job.target):  # the result last: it says that the job is done
        if isinstance(path, StoredPath) and copies[path].is_file():
            path.send(copies[path])


def _with_names(outcome: Outcome, copies: dict[Path, Path]) -> Outcome:
    """Replace the names of the copies in what is said."""

    def named(text: str) -> str:
        for path, copy in copies.items():
            text = text.replace(str(copy), str(path))
        return text

    error = None if outcome.error is None else named(outcome.error)
    return replace(outcome, error=error, notes=tuple(map(named, outcome.notes)))
