"""Deblurring of files and folders: run the jobs of a plan and report the outcome of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tfmlc.deblur.comparison import frame_of, frame_to_show, side_by_side
from tfmlc.deblur.frames import content_of_frames, frames_fingerprint, restore_frames
from tfmlc.deblur.keeping import date, file_not_blurred, is_sharp, keep, not_blurred, write_result
from tfmlc.deblur.marks import Mark, content_of, mark_of
from tfmlc.deblur.pieces import remove_pieces
from tfmlc.deblur.planning import Batch, Job, Outcome, plan_batch
from tfmlc.deblur.sharpness import sharpness
from tfmlc.deblur.stored import by_copies
from tfmlc.deblur.temporal import check_temporal
from tfmlc.deblur.video import NothingRestoredError, VideoSettings, fingerprint, restore_video
from tfmlc.errors import UserError
from tfmlc.io.files import real_path, remove_leftovers
from tfmlc.io.images import check_keeps_all, read_image, write_image
from tfmlc.io.locks import folder_lock
from tfmlc.io.stores import StoredPath
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
    as_frames: bool = False,
    least_px: float = 0.0,
) -> Generator[Outcome]:
    """Restore the photos and videos of a batch in order; an error with one file does not stop the others.

    A file is kept, and copied unchanged to its result, if it is less blurred than ``least_px`` or its result has a
    fault. In a folder run a file is skipped if its result exists, is newer than the file and was made by the same model
    and settings. In place a file is skipped if it was restored before.

    Args:
        deblurrer: The deblurrer.
        batch: The plan.
        again: Whether to restore files again whose result exists.
        allow_large: Whether to read photos that seem too large for the free memory.
        video: How videos are restored and written.
        as_frames: Whether the images of a folder are the frames of a video, which are blended against flicker.
        least_px: The score of ``blurriness`` from which on a file is restored; 0 restores all.

    Yields:
        The outcome of each file.

    Raises:
        UserError: If another run uses a folder, or ``again`` is used in place.
    """
    settings = video or VideoSettings()
    check_settings(batch, settings, again=again, as_frames=as_frames)
    with folders_held(batch):
        is_done = _done_before(
            deblurrer, batch, settings, again=again, as_frames=as_frames, least_px=least_px, allow_large=allow_large
        )
        jobs = [job for job in batch.jobs if not as_frames or job.is_video]
        if frames := [job for job in batch.jobs if as_frames and not job.is_video]:
            blend = settings.temporal
            yield from restore_frames(deblurrer, frames, blend, is_done, allow_large=allow_large, least_px=least_px)
        restore = file_restorer(deblurrer, batch, settings, again=again, allow_large=allow_large, least_px=least_px)
        for number, job in enumerate(jobs, start=1):
            what = f"{job.source.name} ({number} of {len(jobs)}), {'frames' if job.is_video else 'tiles'}"
            with Progress(what) as progress:
                outcome = restore(job, progress.update)
            yield outcome


def file_restorer(
    deblurrer: Deblurrer,
    batch: Batch,
    video: VideoSettings,
    *,
    again: bool = False,
    allow_large: bool = False,
    least_px: float = 0.0,
) -> Callable[[Job, OnFrame | None], Outcome]:
    """Return the function that restores one photo or video of a batch, unless it is done; keywords as in ``run_batch``.

    It is called with the job, and with a function for the finished tiles or frames, or None.
    """
    is_done = _done_before(
        deblurrer, batch, video, again=again, as_frames=False, least_px=least_px, allow_large=allow_large
    )

    def restore_copy(job: Job, show: OnFrame | None) -> Outcome:
        if is_done(job):
            if job.is_video:
                remove_pieces(job.target)
            return Outcome(job, done_before=True)
        if job.is_video:
            return restore_video_file(deblurrer, job, video, show, least_px=least_px)
        return restore_photo(deblurrer, job, show, allow_large=allow_large, least_px=least_px)

    return lambda job, show: by_copies(lambda copy: restore_copy(copy, show), job)


@contextmanager
def folders_held(batch: Batch) -> Generator[None]:
    """Lock the folders of a run, and remove what killed runs and workers left in them."""
    with ExitStack() as held:
        for folder in batch.folders:
            if isinstance(folder, StoredPath):  # stores have no locks; a second run does the same work
                continue
            held.enter_context(folder_lock(folder))
        _remove_leftovers(batch)
        yield
        _remove_leftovers(batch)


def _remove_leftovers(batch: Batch) -> None:
    targets = [job.target for job in batch.jobs if not isinstance(job.target, StoredPath)]
    for folder in {real_path(target).parent for target in targets}:
        remove_leftovers(folder, of_all_machines=bool(batch.folders))  # they are locked


def check_settings(batch: Batch, settings: VideoSettings, *, again: bool, as_frames: bool) -> None:
    """Raise UserError if the settings of a run do not fit its plan or each other."""
    if as_frames and any(isinstance(path, StoredPath) for job in batch.jobs for path in (job.source, job.target)):
        raise UserError("frames are blended with their neighbours on the disk: copy them from the store first")
    check_temporal(settings.temporal)
    if again and batch.in_place:
        raise UserError("photos that were restored in place cannot be restored again: their originals are gone")
    if as_frames and batch.in_place:
        raise UserError("frames cannot be restored in place: the next run needs the originals", option="output")


def _done_before(
    deblurrer: Deblurrer,
    batch: Batch,
    settings: VideoSettings,
    *,
    again: bool,
    as_frames: bool,
    least_px: float,
    allow_large: bool,
) -> Callable[[Job], bool]:
    """Return a function that says whether a job needs no run, by the mark of its result or, in place, of its file."""
    of_videos = fingerprint(deblurrer, settings)
    blend = settings.temporal if as_frames else 0.0
    of_photos = frames_fingerprint(deblurrer, blend, least_px)
    content = content_of_frames([job for job in batch.jobs if not job.is_video], blend)

    def is_done(job: Job) -> bool:
        if batch.in_place:
            return mark_of(job.source) is not None
        if not batch.is_folder_run or again:
            return False
        if not (_is_made(job, of_videos) if job.is_video else _is_made(job, of_photos, content)):
            return False
        says_limit = bool(blend) and not job.is_video
        # else it can have been restored by a run with another limit or without one
        return says_limit or not is_sharp(job.source, least_px, allow_large=allow_large)

    return is_done


def _is_made(job: Job, made_by: str, content: Callable[[Path], str] = content_of) -> bool:
    """Whether a job's result exists, is newer than the photo, and was made from it by this model and settings.

    ``content`` tells photos of equal size apart; it is not asked if the file system says that nothing has changed.
    """
    try:
        source, target = job.source.stat(), job.target.stat()
        wanted = job.comparison is None or job.comparison.exists()
    except OSError:
        return False
    if not wanted or target.st_mtime_ns < source.st_mtime_ns:
        return False
    mark = Mark.parse(mark_of(job.target))
    if mark is None or (mark.made_by, mark.source_bytes) != (made_by, source.st_size):
        return False
    if not mark.content or (content is content_of and _is_untouched(source, target)):
        return True
    try:
        return mark.content == content(job.source)
    except OSError:
        return False


def _is_untouched(source: os.stat_result, target: os.stat_result) -> bool:
    """Whether a file was neither changed nor renamed since its result was written; Windows does not say when it was."""
    dated = target.st_mtime_ns <= source.st_mtime_ns  # by ``date``, so it does not say when the result was written
    return os.name != "nt" and not dated and source.st_ctime_ns < target.st_mtime_ns


def restore_photo(
    deblurrer: Deblurrer,
    job: Job,
    on_tile: OnTile | None = None,
    *,
    allow_large: bool = False,
    least_px: float = 0.0,
) -> Outcome:
    """Restore one photo.

    Args:
        deblurrer: The deblurrer.
        job: The photo and the file for the result.
        on_tile: Called with the number of finished tiles and their total.
        allow_large: Whether to read a photo that seems too large for the free memory.
        least_px: As in ``run_batch``.

    Returns:
        The outcome; it holds the error if there is one.
    """
    in_place = job.target == job.source
    try:
        image = read_image(job.source, allow_large=allow_large)
        if in_place and image.restored is not None:  # by another run in the meantime
            return Outcome(job, done_before=True)
        mark = Mark(deblurrer.fingerprint, job.source.stat().st_size, content_of(job.source))
        if why := not_blurred(image.pixels, least_px):
            return keep(job, "not blurred", why, image)
        if in_place:
            check_keeps_all(job.source, image)
        faults: list[str] = []
        before = sharpness(image.pixels)
        pixels = deblurrer.restore_pixels(image.pixels, on_tile=on_tile, on_unreliable=faults.append)
        if faults and deblurrer.guarded:
            return keep(job, "fault", faults[0], image)
        if job.comparison is not None:
            write_image(job.comparison, side_by_side(image, image.with_pixels(pixels)))
        image = image.with_pixels(pixels)  # frees the blurry pixels
        return write_result(job, image, mark, before, faults)
    except Exception as error:  # decoders and encoders raise many types; the other photos continue
        return Outcome.failed(job, error)


def restore_video_file(
    deblurrer: Deblurrer,
    job: Job,
    settings: VideoSettings,
    on_frame: OnFrame | None = None,
    *,
    least_px: float = 0.0,
) -> Outcome:
    """Restore one video.

    Args:
        deblurrer: The deblurrer.
        job: The video and the file for the result.
        settings: The codec, its quality and the temporal blend.
        on_frame: Called with the number of finished frames and their total.
        least_px: As in ``run_batch``; the score of a video is the median of some frames.

    Returns:
        The outcome; it holds the error if there is one.
    """
    try:
        properties = read_properties(job.source)
        if properties.mark is not None and job.target == job.source:  # by another run in the meantime
            return Outcome(job, done_before=True)
        if why := file_not_blurred(job.source, least_px):
            return keep(job, "not blurred", why)
        notes = [] if properties.mark is None else ["it was restored before"]
        number = frame_to_show(job.source)
        before = None if job.comparison is None else frame_of(job.source, number)
        try:
            result = restore_video(deblurrer, properties, job.target, settings, on_frame)
        except NothingRestoredError as error:
            return keep(job, "fault", error.why)
        date(job)
        if job.comparison is not None and before is not None:
            write_image(job.comparison, side_by_side(before, frame_of(job.target, number)))
        return Outcome(job, result.before, result.after, (*notes, *result.notes))
    except Exception as error:  # decoders and encoders raise many types; the other files continue
        return Outcome.failed(job, error)
