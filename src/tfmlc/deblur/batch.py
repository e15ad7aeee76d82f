"""Deblurring of files and folders: plan the jobs, run them, report the outcome of each."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfmlc.deblur.marks import COMPARISON, Mark, mark_of
from tfmlc.deblur.sharpness import sharpness
from tfmlc.errors import UserError, in_one_line
from tfmlc.io.files import real_path, remove_leftovers
from tfmlc.io.images import (
    FORMATS,
    READ_ONLY,
    Found,
    Image,
    nothing_found,
    read_image,
    search_images,
    to_depth,
    write_image,
)
from tfmlc.io.locks import check_unlocked, folder_lock
from tfmlc.runtime.progress import Progress

if TYPE_CHECKING:  # planning does not need torch, so mistakes are reported at once
    from tfmlc.deblur.deblurrer import Deblurrer, OnTile

COMPARISON_SUFFIX = "-compare.png"
FORMAT_OF_READ_ONLY = ".jpg"
LONGEST_NAME = 255  # bytes, on the usual file systems


@dataclass(frozen=True)
class Job:
    """One photo to restore: its file, the file for the result and, if requested, the file for the comparison."""

    source: Path
    target: Path
    comparison: Path | None = None


@dataclass(frozen=True)
class Batch:
    """A plan of jobs.

    Attributes:
        jobs: The jobs in order.
        folders: The folders that are locked during the run.
        skipped: How many files are skipped, by reason.
        errors: Lines about folders that cannot be searched.
        is_folder_run: Whether there are several photos; then results of an earlier run are not made again.
        in_place: Whether the photos are overwritten.
    """

    jobs: tuple[Job, ...]
    folders: tuple[Path, ...]
    skipped: Counter[str]
    errors: tuple[str, ...]
    is_folder_run: bool
    in_place: bool


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job.

    Attributes:
        job: The job.
        before: The sharpness of the photo.
        after: The sharpness of the result.
        notes: Remarks, for example about metadata that could not be kept.
        done_before: Whether an earlier run made the result.
        error: What went wrong, or None.
        option: The keyword argument that would allow what was refused; empty if there is none.
    """

    job: Job
    before: float = 0.0
    after: float = 0.0
    notes: tuple[str, ...] = ()
    done_before: bool = False
    error: str | None = None
    option: str = ""


def plan_batch(
    inputs: Iterable[Path], output: Path | None = None, *, in_place: bool = False, compare: bool = False
) -> Batch:
    """Plan a job for each photo, in the given order; folders are searched in natural order.

    Comparisons of an earlier run are skipped.

    Args:
        inputs: Photos and folders.
        output: A file, if there is one photo and the name ends like an image's; else a folder, in which names and
            subfolders are kept.
        in_place: Whether to overwrite the photos. Exactly one of ``output`` and ``in_place`` is given.
        compare: Whether to write a comparison beside each result.

    Returns:
        The plan.

    Raises:
        UserError: If an input is missing, a folder has no photos, an output is also an input, two photos have the
            same output, or another run uses a folder.
    """
    inputs = list(inputs)
    if in_place == (output is not None):
        raise UserError("give either an output or in_place")
    for path in inputs:
        if output is not None and path.is_dir() and real_path(path) == real_path(output):
            raise UserError(f"{output} is also the input folder: choose another output", option="in_place")
    found = _search(inputs, output, in_place=in_place)
    to_file = output is not None and output.suffix.lower() in FORMATS and not output.is_dir()
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UserError(f"{output} is a file, but there are several images: give a folder")
    if output is not None and output.suffix and not (to_file or output.is_dir()) and inputs[0].is_file():
        suffixes = " ".join(FORMATS)
        raise UserError(f"cannot write {output}: use a suffix of {suffixes}, or create the folder first")
    jobs = _pair(found.images, output, to_file=to_file)
    if compare:
        jobs = _with_comparisons(jobs)
    is_folder_run = len(jobs) > 1 or any(path.is_dir() for path in inputs)
    folders: set[Path] = set()
    if is_folder_run:
        folders = {path if path.is_dir() else path.parent for path in inputs} if output is None else {output}
    for folder in folders:
        check_unlocked(folder)
    return Batch(
        tuple(jobs), tuple(sorted(folders)), found.skipped, tuple(found.errors), is_folder_run, in_place=in_place
    )


def _search(inputs: Sequence[Path], output: Path | None, *, in_place: bool) -> Found:
    """Find the photos of the inputs, each once; leave out comparisons and, in place, formats that cannot be written."""
    everything = Found()
    taken: set[Path] = set()
    for path in inputs:
        found = search_images(path, leave_out=output)
        if not found.images and not found.errors:
            raise nothing_found(path, found)
        everything.skipped += found.skipped
        everything.errors += found.errors
        names = {name for source, _ in found.images for name in (source, source.with_suffix(""))}
        for source, name in found.images:
            identity = real_path(source) if in_place else real_path(source.parent) / source.name
            if identity in taken:
                continue
            taken.add(identity)
            if path.is_dir() and _is_comparison(source, names):
                everything.skipped["named *-compare.png (from an earlier run)"] += 1
            elif in_place and source.suffix.lower() in READ_ONLY:
                everything.skipped[f"{source.suffix.lower()} (cannot be written: choose an output folder)"] += 1
            else:
                everything.images.append((source, name))
    if not everything.images and not everything.errors:
        raise nothing_found(inputs[0], everything)
    return everything


def _is_comparison(source: Path, names: set[Path]) -> bool:
    if not source.name.endswith(COMPARISON_SUFFIX):
        return False
    of = source.with_name(source.name.removesuffix(COMPARISON_SUFFIX))
    return of in names or mark_of(source) == COMPARISON


def _pair(images: Sequence[tuple[Path, Path]], output: Path | None, *, to_file: bool) -> list[Job]:
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    names = {name for _, name in images}
    sources = {real_path(source) for source, _ in images}
    for source, name in images:
        if name.suffix.lower() in READ_ONLY:
            name = name.with_suffix(FORMAT_OF_READ_ONLY)  # noqa: PLW2901
            if name in names:  # a phone's HEIC beside the same photo as JPEG
                name = name.with_name(f"{source.name}{FORMAT_OF_READ_ONLY}")  # noqa: PLW2901
        target = source if output is None else output if to_file else output / name
        if output is not None and real_path(target) in sources:
            raise UserError(
                f"{target} is also a photo and would be overwritten: choose another output", option="in_place"
            )
        if (other := taken.setdefault(real_path(target), source)) != source:
            raise UserError(f"{other} and {source} would both become {target}: give the folder that has both")
        jobs.append(Job(source, target))
    return jobs


def _with_comparisons(jobs: Sequence[Job]) -> list[Job]:
    taken: set[Path] = set()
    compared: list[Job] = []
    for job in jobs:
        beside = _comparison_of(job.target, job.target.stem)
        if beside in taken:  # same.jpg and same.png
            beside = _comparison_of(job.target, job.target.name)
        taken.add(beside)
        compared.append(replace(job, comparison=beside))
    return compared


def _comparison_of(target: Path, stem: str) -> Path:
    """Return the file for a comparison; a long name is cut and gets a hash, so that it stays unique."""
    encoded, room = os.fsencode(stem), LONGEST_NAME - len(COMPARISON_SUFFIX)
    if len(encoded) > room:
        stem = encoded[: room - 9].decode(errors="ignore") + "-" + hashlib.sha256(encoded).hexdigest()[:8]
    return target.with_name(f"{stem}{COMPARISON_SUFFIX}")


def run_batch(
    deblurrer: Deblurrer, batch: Batch, *, again: bool = False, allow_large: bool = False
) -> Generator[Outcome]:
    """Restore the photos of a batch in order; an error with one photo does not stop the others.

    In a folder run a photo is skipped if its result exists, is newer than the photo and was made by the same model
    and settings. In place a photo is skipped if it was restored before.

    Args:
        deblurrer: The deblurrer.
        batch: The plan.
        again: Whether to restore photos again whose result exists.
        allow_large: Whether to read photos that seem too large for the free memory.

    Yields:
        The outcome of each photo.

    Raises:
        UserError: If another run uses a folder, or ``again`` is used in place.
    """
    if again and batch.in_place:
        raise UserError("photos that were restored in place cannot be restored again: their originals are gone")
    made_by = deblurrer.fingerprint
    with ExitStack() as held:
        for folder in batch.folders:
            held.enter_context(folder_lock(folder))
        for folder in {real_path(job.target).parent for job in batch.jobs} if batch.folders else ():
            remove_leftovers(folder)
        for number, job in enumerate(batch.jobs, start=1):
            if _was_restored(job) if batch.in_place else batch.is_folder_run and not again and _is_made(job, made_by):
                yield Outcome(job, done_before=True)
                continue
            with Progress(f"{job.source.name} ({number} of {len(batch.jobs)}), tiles") as progress:
                outcome = restore_photo(deblurrer, job, on_tile=progress.update, allow_large=allow_large)
            yield outcome


def _was_restored(job: Job) -> bool:
    return mark_of(job.source) is not None


def _is_made(job: Job, made_by: str) -> bool:
    """Whether a job's result exists, is newer than the photo, and was made from it by this model and settings."""
    try:
        source, target = job.source.stat(), job.target.stat()
        wanted = job.comparison is None or job.comparison.exists()
    except OSError:
        return False
    if not wanted or target.st_mtime_ns < source.st_mtime_ns:
        return False
    return Mark.parse(mark_of(job.target)) == Mark(made_by, source.st_size)


def restore_photo(
    deblurrer: Deblurrer, job: Job, *, on_tile: OnTile | None = None, allow_large: bool = False
) -> Outcome:
    """Restore one photo.

    Args:
        deblurrer: The deblurrer.
        job: The photo and the file for the result.
        on_tile: Called with the number of finished tiles and their total.
        allow_large: Whether to read a photo that seems too large for the free memory.

    Returns:
        The outcome; it holds the error if there is one.
    """
    in_place = job.target == job.source
    try:
        image = read_image(job.source, allow_large=allow_large)
        if in_place and image.restored is not None:  # by another run in the meantime
            return Outcome(job, done_before=True)
        mark = Mark(deblurrer.fingerprint, job.source.stat().st_size)
        notes = [] if image.restored is None else ["it was restored before"]
        warnings: list[str] = []
        before = sharpness(image.pixels)
        pixels = deblurrer.restore_pixels(image.pixels, on_tile=on_tile, on_unreliable=warnings.append)
        if warnings and in_place:
            return Outcome(job, error=f"{job.source} was not changed: {warnings[0]}", option="output")
        if job.comparison is not None:
            write_image(job.comparison, side_by_side(image, image.with_pixels(pixels)))
        image = replace(image.with_pixels(pixels), restored=str(mark))  # frees the blurry pixels
        notes += [*warnings, *write_image(job.target, image)]
        return Outcome(job, before, sharpness(pixels), tuple(notes))
    except Exception as error:  # decoders and encoders raise many types; the other photos continue
        option = error.option if isinstance(error, UserError) else ""
        return Outcome(job, error=in_one_line(error, job.source), option=option)


def side_by_side(before: Image, after: Image) -> Image:
    """Join two images of the same size side by side, with a white line between them."""
    left, right = to_depth(before.pixels, 8), to_depth(after.pixels, 8)
    line = np.full((left.shape[0], 4, left.shape[2]), 255, np.uint8)
    return Image(np.concatenate([left, line, right], axis=1), icc=before.icc, restored=COMPARISON)
