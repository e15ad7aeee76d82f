"""One run of the page: the uploaded files are restored one after the other, as the command line does it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED, ZipFile

from tfmlc.app.limits import Limits
from tfmlc.app.session import Session, Stopped
from tfmlc.app.views import write_views
from tfmlc.deblur.batch import file_restorer
from tfmlc.deblur.planning import Job, Outcome, plan_batch
from tfmlc.deblur.sharpness import edges
from tfmlc.deblur.video import VideoSettings
from tfmlc.errors import UserError, in_one_line

if TYPE_CHECKING:
    from tfmlc.deblur import Deblurrer
    from tfmlc.deblur.video import OnFrame

OnStep = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Attributes:
        name: The name of the file.
        line: One sentence about it.
        target: The result; None if the file failed.
        views: The images to show, by name: before, after and map.
    """

    name: str
    line: str
    target: Path | None = None
    views: dict[str, str] = field(default_factory=dict[str, str])


def restore_uploads(
    deblurrer: Deblurrer,
    session: Session,
    uploads: Iterable[Path],
    limits: Limits,
    on_step: OnStep,
    *,
    blur_map: bool = False,
) -> Iterator[Result]:
    """Restore uploaded files in the private folder of a visitor; metadata is kept as on the command line.

    The run ends early when the visitor stops it. The results until then stay.

    Args:
        deblurrer: The deblurrer.
        session: The visitor.
        uploads: The files.
        limits: What the page takes.
        on_step: Called with a few words about the file, the number of finished tiles or frames and their total.
        blur_map: Whether to measure where the files are blurred.

    Yields:
        What became of each file.
    """
    with session.working:
        if session.stop.is_set():
            return
        run, files = session.new_run(uploads)
    try:
        batch = plan_batch(files, run / "out")
    except UserError as error:  # a photo without a suffix and another would become one file
        yield Result(files[-1].name, _as_line(str(error), run, files[-1].name))
        return
    restore = file_restorer(deblurrer, batch, VideoSettings())
    for number, job in enumerate(batch.jobs, start=1):
        what = f"{job.source.name} ({number} of {len(batch.jobs)})"

        def report(done: int, total: int | None, what: str = what) -> None:
            session.check_running()
            on_step(what, done, total)

        with session.working:  # not held while the page shows a result
            if session.stop.is_set():
                return
            result = _result(restore, job, run, limits, report, blur_map=blur_map)
        if result is not None:
            yield result


def write_zip(results: Sequence[Result]) -> Path | None:
    """Write the results into one archive beside them; None if there are fewer than two."""
    files = [result.target for result in results if result.target is not None]
    if len(files) < 2:
        return None
    archive = files[0].parent.parent / "tfmlc.zip"
    with ZipFile(archive, "w", ZIP_STORED, strict_timestamps=False) as content:
        for file in files:
            content.write(file, file.name)
    return archive


def _result(
    restore: Callable[[Job, OnFrame | None], Outcome],
    job: Job,
    run: Path,
    limits: Limits,
    report: Callable[[int, int | None], None],
    *,
    blur_map: bool,
) -> Result | None:
    """Restore one file; None if the run was stopped."""
    name = job.source.name
    try:
        report(0, None)
        limits.check(job.source)
        outcome = restore(job, report)
        if outcome.error is not None:
            report(0, None)  # tells a stop from an error
            return Result(name, _as_line(outcome.error, run, name))
    except Stopped:
        return None
    except Exception as error:  # decoders raise many types; the other files continue
        return Result(name, _as_line(in_one_line(error, job.source), run, name))
    notes = [_as_line(note, run, name) for note in outcome.notes]
    target, views = outcome.job.target, dict[str, str]()
    try:
        views, score = write_views(run / f"views-{target.name}", job.source, target, blur_map=blur_map)
        if score is not None:
            notes.insert(0, f"{score:.1f} px of motion")
    except Exception as error:  # for example too little memory; the result is there all the same
        notes.append(f"it is not shown here: {_as_line(in_one_line(error, job.source), run, name)}")
    what = "kept as it is" if outcome.kept else edges(outcome.before, outcome.after)
    return Result(name, "; ".join([what, *notes]), target, views)


def _as_line(text: str, run: Path, name: str) -> str:
    """Return a text in which files are named without the folder of the run; it does not begin with their name."""
    for folder in (run / "in", run / "out", run):
        text = text.replace(f"{folder}{os.sep}", "")
    return text.removeprefix(f"{name} ").removeprefix(f"{name}: ")
