"""Deblurring of files and folders: run the jobs of a plan and report the outcome of each."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tfmlc.deblur.marks import COMPARISON, Mark, mark_of
from tfmlc.deblur.planning import Batch, Job, Outcome, plan_batch
from tfmlc.deblur.sharpness import sharpness
from tfmlc.deblur.video import VideoSettings, fingerprint, restore_video
from tfmlc.errors import UserError, in_one_line
from tfmlc.io.files import real_path, remove_leftovers
from tfmlc.io.images import Image, read_image, to_depth, write_image
from tfmlc.io.locks import folder_lock
from tfmlc.io.video import read_properties
from tfmlc.runtime.progress import Progress

if TYPE_CHECKING:  # planning does not need torch, so mistakes are reported at once
    from tfmlc.deblur.deblurrer import Deblurrer, OnTile
    from tfmlc.deblur.video import OnFrame

__all__ = ["Batch", "Job", "Outcome", "plan_batch", "restore_photo", "run_batch", "side_by_side"]


def run_batch(
    deblurrer: Deblurrer,
    batch: Batch,
    *,
    again: bool = False,
    allow_large: bool = False,
    video: VideoSettings | None = None,
) -> Generator[Outcome]:
    """Restore the photos and videos of a batch in order; an error with one file does not stop the others.

    In a folder run a file is skipped if its result exists, is newer than the file and was made by the same model and
    settings. In place a file is skipped if it was restored before.

    Args:
        deblurrer: The deblurrer.
        batch: The plan.
        again: Whether to restore files again whose result exists.
        allow_large: Whether to read photos that seem too large for the free memory.
        video: How videos are restored and written.

    Yields:
        The outcome of each file.

    Raises:
        UserError: If another run uses a folder, or ``again`` is used in place.
    """
    if again and batch.in_place:
        raise UserError("photos that were restored in place cannot be restored again: their originals are gone")
    video = video or VideoSettings()
    made_by = {True: fingerprint(deblurrer, video), False: deblurrer.fingerprint}  # of videos and of photos
    with ExitStack() as held:
        for folder in batch.folders:
            held.enter_context(folder_lock(folder))
        for folder in {real_path(job.target).parent for job in batch.jobs} if batch.folders else ():
            remove_leftovers(folder)
        for number, job in enumerate(batch.jobs, start=1):
            is_done = batch.is_folder_run and not again and _is_made(job, made_by[job.is_video])
            if _was_restored(job) if batch.in_place else is_done:
                yield Outcome(job, done_before=True)
                continue
            steps = "frames" if job.is_video else "tiles"
            with Progress(f"{job.source.name} ({number} of {len(batch.jobs)}), {steps}") as progress:
                if job.is_video:
                    outcome = restore_video_file(deblurrer, job, video, progress.update)
                else:
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


def restore_video_file(
    deblurrer: Deblurrer, job: Job, settings: VideoSettings, on_frame: OnFrame | None = None
) -> Outcome:
    """Restore one video.

    Args:
        deblurrer: The deblurrer.
        job: The video and the file for the result.
        settings: The codec, its quality and the temporal blend.
        on_frame: Called with the number of finished frames and their total.

    Returns:
        The outcome; it holds the error if there is one.
    """
    try:
        properties = read_properties(job.source)
        if properties.mark is not None and job.target == job.source:  # by another run in the meantime
            return Outcome(job, done_before=True)
        notes = [] if properties.mark is None else ["it was restored before"]
        result = restore_video(deblurrer, properties, job.target, settings, on_frame)
        return Outcome(job, result.before, result.after, (*notes, *result.notes))
    except Exception as error:  # decoders and encoders raise many types; the other files continue
        option = error.option if isinstance(error, UserError) else ""
        return Outcome(job, error=in_one_line(error, job.source), option=option)


def side_by_side(before: Image, after: Image) -> Image:
    """Join two images of the same size side by side, with a white line between them."""
    left, right = to_depth(before.pixels, 8), to_depth(after.pixels, 8)
    line = np.full((left.shape[0], 4, left.shape[2]), 255, np.uint8)
    return Image(np.concatenate([left, line, right], axis=1), icc=before.icc, restored=COMPARISON)
