"""Deblurring files and folders: which picture goes where, and one bad file never stops the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfmlc.deblur.deblurrer import Deblurrer, OnTile
from tfmlc.deblur.sharpness import sharpness
from tfmlc.errors import UserError
from tfmlc.images import FORMATS, Picture, find_pictures, read_image, to_depth, write_image

COMPARISON = "-compare.png"


@dataclass(frozen=True)
class Job:
    """One picture to restore, where the result goes, and where the comparison goes if one is wanted."""

    source: Path
    target: Path
    comparison: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one job: sharpness before and after and notes, or the error."""

    job: Job
    before: float = 0.0
    after: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None


def plan_jobs(
    inputs: Iterable[Path], output: Path | None, *, in_place: bool = False, compare: bool = False
) -> list[Job]:
    """Pair every input picture with its output file, in the order given; folders are searched in natural order.

    ``output`` is a file when there is one input file and it ends in a picture's suffix, else a folder in which
    names and subfolders are kept. Raises UserError for a missing input, a folder without pictures, an output
    that is an input (unless ``in_place``), and two inputs with one output.
    """
    if in_place == (output is not None):
        both = ", not both" if in_place else ""
        raise UserError(f"say where the results go with -o, or overwrite the pictures themselves with --in-place{both}")
    inputs = list(inputs)
    for path in inputs:
        if output is not None and path.is_dir() and path.resolve() == output.resolve():
            raise UserError(f"{output} is the folder of the pictures: choose another -o, or say --in-place")
    found = [pair for path in inputs for pair in find_pictures(path, leave_out=output)]
    if compare:  # those of a former run are no photos
        names = {name for source, _ in found for name in (source, source.with_suffix(""))}
        found = [pair for pair in found if not _is_comparison(pair[0], names)]
    to_file = output is not None and output.suffix.lower() in FORMATS and not output.is_dir()
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UserError(f"{output} is one file, but there are more pictures: give a folder")
    if output is not None and output.suffix and not (to_file or output.is_dir()) and inputs[0].is_file():
        raise UserError(
            f"cannot write {output}: the name of a picture ends in {' '.join(FORMATS)}; make a folder first"
        )
    jobs: list[Job] = []
    comparisons: set[Path] = set()
    taken: dict[Path, Path] = {}
    sources = {source.resolve() for source, _ in found}
    for source, name in found:
        target = source if output is None else output if to_file else output / name
        if target.resolve() in sources and not in_place:
            raise UserError(f"{target} would be overwritten by its own result: choose another -o, or say --in-place")
        if (other := taken.setdefault(target.resolve(), source)) != source:
            raise UserError(f"{other} and {source} would both become {target}: give the folder they share")
        beside = target.with_name(f"{target.stem}{COMPARISON}")
        if beside in comparisons:  # same.jpg and same.png
            beside = target.with_name(f"{target.name}{COMPARISON}")
        comparisons.add(beside)
        jobs.append(Job(source, target, beside if compare else None))
    return jobs


def _is_comparison(source: Path, names: set[Path]) -> bool:
    return source.name.endswith(COMPARISON) and source.with_name(source.name.removesuffix(COMPARISON)) in names


def run_job(deblurrer: Deblurrer, job: Job, *, on_tile: OnTile | None = None) -> Outcome:
    """Restore one picture; a user's error becomes part of the outcome."""
    try:
        picture = read_image(job.source)
        notes: list[str] = []
        restored = picture.with_pixels(deblurrer(picture.pixels, on_tile=on_tile, on_doubt=notes.append))
        if notes and job.target == job.source:
            return Outcome(job, error=f"{job.source} was left as it was: {notes[0]} (-o writes it elsewhere)")
        notes += write_image(job.target, restored)
        if job.comparison is not None:
            write_image(job.comparison, side_by_side(picture, restored))
        return Outcome(job, sharpness(picture.pixels), sharpness(restored.pixels), tuple(notes))
    except UserError as error:
        return Outcome(job, error=str(error))
    except OSError as error:
        return Outcome(job, error=f"cannot write {job.target}: {(error.strerror or str(error)).lower()}")
    except MemoryError:
        return Outcome(job, error=f"{job.source} does not fit into memory: close other programs, or cut it into parts")


def side_by_side(before: Picture, after: Picture) -> Picture:
    """Two pictures of the same size next to each other, a white line between them."""
    left, right = to_depth(before.pixels, 8), to_depth(after.pixels, 8)
    line = np.full((left.shape[0], 4, left.shape[2]), 255, np.uint8)
    return Picture(np.concatenate([left, line, right], axis=1), icc=before.icc)
