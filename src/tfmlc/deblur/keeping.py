"""The end of a restoration: the result is written, or the file is kept, because it is not blurred or for a fault."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from filecmp import cmp
from pathlib import Path
from typing import Literal

from tfmlc.deblur.marks import Mark
from tfmlc.deblur.planning import Job, Outcome
from tfmlc.deblur.sharpness import sharpness
from tfmlc.errors import UserError
from tfmlc.io.files import real_path, replaced
from tfmlc.io.images import FORMATS, Image, Pixels, write_image
from tfmlc.io.video import CONTAINERS


def not_blurred(pixels: Pixels, least_px: float) -> str:
    """Return a sentence if a photo is less blurred than ``least_px``, else nothing. 0 measures nothing."""
    if not least_px:
        return ""
    from tfmlc.deblur.blur_meter import blurriness_of_pixels

    return too_sharp(blurriness_of_pixels(pixels).score_px, least_px)


def file_not_blurred(path: Path, least_px: float, *, allow_large: bool = False) -> str:
    """Return a sentence if a photo or video is less blurred than ``least_px``, else nothing. 0 measures nothing."""
    if not least_px:
        return ""
    from tfmlc.deblur.measuring import score_file

    return too_sharp(score_file(path, allow_large=allow_large).score_px, least_px)


def is_sharp(path: Path, least_px: float, *, allow_large: bool = False) -> bool:
    """Whether a photo or video is less blurred than ``least_px``; not if it cannot be measured or that is 0."""
    try:
        return bool(file_not_blurred(path, least_px, allow_large=allow_large))
    except Exception:  # decoders raise many types; a file that was restored before is left alone
        return False


def too_sharp(score_px: float, least_px: float) -> str:
    """Return a sentence if a score of ``blurriness`` is below ``least_px``, else nothing.

    >>> too_sharp(1.23, 4.0)
    'it is not blurred: 1.2 px of motion, less than 4 px'
    """
    return f"it is not blurred: {score_px:.1f} px of motion, less than {least_px:g} px" if score_px < least_px else ""


def write_result(job: Job, result: Image, mark: Mark, before: float, faults: Iterable[str]) -> Outcome:
    """Write a restored photo or frame with its mark.

    Args:
        job: The photo or frame.
        result: The photo with restored pixels.
        mark: Its mark, with the size of the file when it was read.
        before: The sharpness of the photo.
        faults: What the guard said about the result.

    Returns:
        The outcome.

    Raises:
        UserError: If the result cannot be written.
    """
    notes = [*([] if result.restored is None else ["it was restored before"]), *faults]
    notes += write_image(job.target, replace(result, restored=str(mark)))
    date(job)
    return Outcome(job, before, sharpness(result.pixels), tuple(notes))


def date(job: Job) -> None:
    """Give a result the time of its file if that is later, because a clock was wrong; else each run would make it."""
    with suppress(OSError):
        source, target = job.source.stat(), job.target.stat()
        if target.st_mtime_ns < source.st_mtime_ns:
            os.utime(job.target, ns=(target.st_atime_ns, source.st_mtime_ns))


def keep(job: Job, reason: Literal["fault", "not blurred"], why: str, image: Image | None = None) -> Outcome:
    """Make the result of a job the file itself, byte for byte; in place nothing is done.

    A video that would become another container keeps its suffix, so the job of the outcome can have another target.

    Args:
        job: The photo or video.
        reason: Why it is kept.
        why: The same in a sentence, for the user.
        image: The photo. It is written if the result has another format than the file.

    Returns:
        The outcome.

    Raises:
        UserError: If the result cannot be written, or the copy of a video would replace another file.
    """
    notes = (why,)
    if not _alike(job.target, job.source):
        if image is not None:
            return Outcome(job, notes=(*notes, *write_image(job.target, image)), kept=reason)
        short = job.target.with_suffix("")  # a.avi.mkv is the result of a.avi beside a.mpg
        named = short.with_name(f"{short.name}{job.source.suffix}")  # not with_suffix: the rest can have a dot, too
        job = replace(job, target=short if _alike(short, job.source) else named)
        if job.target.exists() and not cmp(job.source, job.target, shallow=False):
            raise UserError(would_replace(job, why))
    if real_path(job.target) != real_path(job.source):
        with replaced(job.target) as temporary:
            shutil.copyfile(job.source, temporary)
    return Outcome(job, notes=notes, kept=reason)


def would_replace(job: Job, why: str) -> str:
    """Return the error for a video that is kept, where another file has the name of its copy."""
    return f"{job.source} was not restored: {why}; its copy would replace {job.target}: rename that"


def _alike(one: Path, other: Path) -> bool:
    """Whether two names are of one format, as .jpg and .jpeg are."""
    return _format(one) == _format(other)


def _format(path: Path) -> str:
    suffix = path.suffix.lower()
    return FORMATS.get(suffix) or CONTAINERS.get(suffix, suffix)
