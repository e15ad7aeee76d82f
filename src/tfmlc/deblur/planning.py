"""Planning of a batch: which files are restored, and where their results go."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Literal

from tfmlc.deblur.marks import COMPARISON, mark_of
from tfmlc.errors import UserError, in_one_line
from tfmlc.io.files import LONGEST_NAME, identity, ignores_case, one_name, real_path
from tfmlc.io.images import FORMATS, READ_ONLY, WRITTEN_AS, Found, is_image_name, nothing_found, search_images
from tfmlc.io.locks import check_unlocked
from tfmlc.io.stores import StoredPath, check_bucket, located, search_store
from tfmlc.io.video import CONTAINERS, FOR_VIDEO, VIDEO_SUFFIXES, has_pyav, is_video_name

COMPARISON_SUFFIX = "-compare.png"
READ_ONLY_CONTAINER, WRITTEN_IN = ".mkv", {".3gp": ".mov"}  # MOV holds the sound of old phones, too


@dataclass(frozen=True)
class Job:
    """A photo or video to restore: its file, the file for the result and, if requested, the one for the comparison."""

    source: Path
    target: Path
    comparison: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether the file is a video, by its name."""
        return is_video_name(self.source)


@dataclass(frozen=True)
class Batch:
    """A plan of jobs.

    Attributes:
        jobs: The jobs in order.
        folders: The folders that are locked during the run.
        skipped: How many files are skipped, by reason.
        errors: Lines about folders that cannot be searched.
        is_folder_run: Whether there are several files; then results of an earlier run are not made again.
        in_place: Whether the files are overwritten.
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
        before: The sharpness of the photo, or the mean of the frames of a video.
        after: The sharpness of the result.
        notes: Remarks, for example about metadata that could not be kept.
        kept: Why the file was kept as it is; the notes say more. Empty if it was restored.
        done_before: Whether an earlier run made the result.
        error: What went wrong, or None.
        option: The keyword argument that would allow what was refused; empty if there is none.
    """

    job: Job
    before: float = 0.0
    after: float = 0.0
    notes: tuple[str, ...] = ()
    kept: Literal["", "fault", "not blurred"] = ""
    done_before: bool = False
    error: str | None = None
    option: str = ""

    @classmethod
    def failed(cls, job: Job, error: Exception) -> Outcome:
        """Return the outcome of a job that an error of any type ended."""
        option = error.option if isinstance(error, UserError) else ""
        return cls(job, error=in_one_line(error, job.source), option=option)


def plan_batch(
    inputs: Iterable[Path], output: Path | None = None, *, in_place: bool = False, compare: bool = False
) -> Batch:
    """Plan a job for each photo and video, in the given order; folders are searched in natural order.

    Comparisons of an earlier run are skipped.

    Args:
        inputs: Photos, videos and folders, on the disk or in a store (``s3://``, ``gs://``).
        output: A file, if there is one photo or video and the name ends like one; else a folder, in which names and
            subfolders are kept.
        in_place: Whether to overwrite the files. Exactly one of ``output`` and ``in_place`` is given.
        compare: Whether to write a comparison beside each result; of a video it shows one frame.

    Returns:
        The plan.

    Raises:
        UserError: If an input is missing, a folder has neither, an output is also an input, two files have the
            same output, or another run uses a folder.
    """
    inputs, output = [located(path) for path in inputs], None if output is None else located(output)
    if isinstance(output, StoredPath):
        check_bucket(output)
    if in_place == (output is not None):
        raise UserError("give either an output or in_place")
    if not inputs:
        raise UserError("there is nothing to restore: give photos, videos or folders")
    fold = output is not None and not isinstance(output, StoredPath) and ignores_case(real_path(output))
    for path in inputs:
        if output is not None and path.is_dir() and identity(path, fold=fold) == identity(output, fold=fold):
            raise UserError(f"{output} is also the input folder: choose another output", option="in_place")
    found = _search(inputs, output, in_place=in_place)
    jobs = _pair(found.images, output, to_file=output is not None and _is_for_a_file(output, inputs), fold=fold)
    if compare:
        jobs = _with_comparisons(jobs)
    is_folder_run = len(jobs) > 1 or any(path.is_dir() for path in inputs)
    folders: dict[Path | str, Path] = {}
    if is_folder_run:
        used = [path if path.is_dir() else path.parent for path in inputs] if output is None else [output]
        folders = {identity(folder): folder for folder in used}  # a link to a folder is the folder
    locked = tuple(sorted(folders.values()))
    for folder in locked:
        if not isinstance(folder, StoredPath):
            check_unlocked(folder)
    return Batch(tuple(jobs), locked, found.skipped, tuple(found.errors), is_folder_run, in_place=in_place)


def _is_for_a_file(output: Path, inputs: Sequence[Path]) -> bool:
    """Whether an output is a file; raises UserError if it cannot be the file of the inputs."""
    if not output.suffix or output.is_dir():
        return False
    to_file = output.suffix.lower() in (*FORMATS, *CONTAINERS)
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise UserError(f"{output} is a file, but there are several images: give a folder")
    if inputs[0].is_file() and output.suffix.lower() in CONTAINERS and not _is_wanted(inputs[0]):
        raise UserError(
            f"{inputs[0]} does not end like a video that can be read: "
            f"give it the suffix of its format ({' '.join(VIDEO_SUFFIXES)}), or convert it to .mkv first"
        )
    kind, usable = ("video", CONTAINERS) if is_video_name(inputs[0]) else ("photo", FORMATS)
    if inputs[0].is_file() and output.suffix.lower() not in usable:
        raise UserError(
            f"cannot write the {kind} {output}: use a suffix of {' '.join(usable)}, or create the folder first"
        )
    return to_file


def search_inputs(inputs: Iterable[Path]) -> Found:
    """Find the photos and videos of files and folders, each once; comparisons and maps are left out.

    Raises UserError if an input is missing or a folder has neither.
    """
    return _search(list(inputs), None, in_place=False)


def _search(inputs: Sequence[Path], output: Path | None, *, in_place: bool) -> Found:
    """Find the photos and videos of the inputs, each once.

    Comparisons and maps are left out, and in place also formats that cannot be written.
    """
    everything = Found()
    taken: set[Path] = set()
    for path in inputs:
        search = partial(search_store, path) if isinstance(path, StoredPath) else partial(search_images, path)
        found, is_folder = search(leave_out=output, is_wanted=_is_wanted), path.is_dir()
        if not found.images and not found.errors:
            raise nothing_found(path, found)
        everything.skipped += found.skipped
        everything.errors += found.errors
        names = {name for source, _ in found.images for name in (source, source.with_suffix(""))}
        for source, name in found.images:
            key = real_path(source) if in_place else real_path(source.parent) / source.name
            if key in taken:
                continue
            taken.add(key)
            if is_folder and _is_comparison(source, names):
                everything.skipped["named *-compare.png (from an earlier run)"] += 1
            elif is_folder and _is_map(source):
                everything.skipped["maps of blurriness (from an earlier run)"] += 1
            elif is_folder and is_video_name(source) and not has_pyav():
                everything.skipped[f"{source.suffix.lower()} ({FOR_VIDEO})"] += 1
            elif in_place and _is_read_only(source):
                everything.skipped[f"{source.suffix.lower()} (cannot be written: choose an output folder)"] += 1
            else:
                everything.images.append((source, name))
    if not everything.images and not everything.errors:
        raise nothing_found(inputs[0], everything)
    return everything


def _is_wanted(file: Path) -> bool:
    return is_image_name(file) or is_video_name(file)


def _is_read_only(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in READ_ONLY or (is_video_name(file) and suffix not in CONTAINERS)


def _is_comparison(source: Path, names: set[Path]) -> bool:
    if not source.name.endswith(COMPARISON_SUFFIX):
        return False
    of = source.with_name(source.name.removesuffix(COMPARISON_SUFFIX))
    return of in names or mark_of(source) == COMPARISON


def _is_map(source: Path) -> bool:
    """Whether a file is a map of ``blurriness``: a.jpg.png with the mark; maps are not written to stores."""
    if source.suffix != ".png" or isinstance(source, StoredPath) or not _is_wanted(source.with_suffix("")):
        return False
    return mark_of(source) == COMPARISON


def _pair(images: Sequence[tuple[Path, Path]], output: Path | None, *, to_file: bool, fold: bool) -> list[Job]:
    jobs: list[Job] = []
    taken: dict[object, Path] = {}
    sources = {identity(source, fold=fold) for source, _ in images}
    for (source, _), name in zip(images, _names_of_results([name for _, name in images], fold=fold), strict=True):
        target = source if output is None else output if to_file else output / name
        becomes = identity(target, fold=fold)
        if output is not None and becomes in sources:
            raise UserError(
                f"{target} is also an input and would be overwritten: choose another output", option="in_place"
            )
        if (other := taken.setdefault(becomes, source)) != source:
            way_out = "rename one" if other.parent == source.parent else "give the folder that has both"
            raise UserError(f"{other} and {source} would both become {target}: {way_out}")
        jobs.append(Job(source, target))
    return jobs


def _names_of_results(names: Sequence[Path], *, fold: bool) -> list[Path]:
    """Return the names of results: a format that is only read gets another suffix.

    It keeps its own before that if another result would have the name: a phone's HEIC beside the same photo as JPEG.
    """
    suffixes = [_written_suffix(name.suffix.lower()) if _is_read_only(name) else "" for name in names]
    short = [name.with_suffix(suffix) if suffix else name for name, suffix in zip(names, suffixes, strict=True)]
    keys = [one_name(name) if fold else name for name in short]
    alike = Counter(keys)
    return [
        name.with_name(f"{name.name}{suffix}") if suffix and alike[key] > 1 else new
        for name, suffix, new, key in zip(names, suffixes, short, keys, strict=True)
    ]


def _written_suffix(suffix: str) -> str:
    """Return the suffix for results of a format that is only read."""
    return WRITTEN_AS[READ_ONLY[suffix]] if suffix in READ_ONLY else WRITTEN_IN.get(suffix, READ_ONLY_CONTAINER)


def _with_comparisons(jobs: Sequence[Job]) -> list[Job]:
    taken = {one_name(path) for job in jobs for path in (job.source, job.target)}
    compared: list[Job] = []
    for job in jobs:
        name = job.target.name
        stems = chain((job.target.stem, name), (f"{name}-{number}" for number in count(2)))  # same.jpg and same.png
        places = (_comparison_of(job.target, stem) for stem in stems)
        beside = next(place for place in places if one_name(place) not in taken and is_free(place))
        taken.add(one_name(beside))
        compared.append(replace(job, comparison=beside))
    return compared


def is_free(place: Path) -> bool:
    """Whether a comparison or a map can be written: it replaces no file of the user.

    ``by_copies`` looks at those of stores.
    """
    return isinstance(place, StoredPath) or not os.path.lexists(place) or mark_of(place) == COMPARISON


def _comparison_of(target: Path, stem: str) -> Path:
    """Return the file for a comparison; a long name is cut and gets a hash, so that it stays unique."""
    encoded, room = os.fsencode(stem), LONGEST_NAME - len(COMPARISON_SUFFIX)
    if len(encoded) > room:
        stem = encoded[: room - 9].decode(errors="ignore") + "-" + hashlib.sha256(encoded).hexdigest()[:8]
    return target.with_name(f"{stem}{COMPARISON_SUFFIX}")
