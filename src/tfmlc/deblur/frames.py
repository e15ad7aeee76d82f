"""Deblurring of folders of frames: as photos, and then blended with their neighbours as the frames of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tfmlc.deblur.comparison import side_by_side
from tfmlc.deblur.keeping import keep, not_blurred, write_result
from tfmlc.deblur.marks import Mark, content_of, fingerprint_of
from tfmlc.deblur.planning import Job, Outcome
from tfmlc.deblur.sharpness import sharpness
from tfmlc.deblur.temporal import RestoredFrame, blended, with_neighbours
from tfmlc.io.images import Image, read_image, write_image
from tfmlc.runtime.progress import Progress

if TYPE_CHECKING:
    from tfmlc.deblur.deblurrer import Deblurrer

NOTHING = np.zeros((1, 1, 3), np.uint8)  # in place of a frame that cannot be read; nothing is blended with it


@dataclass(frozen=True)
class _Restored:
    """What belongs to a restored frame: its job, its photo without pixels, its mark, and an error or faults."""

    job: Job
    image: Image | None
    mark: Mark | None = None
    faults: tuple[str, ...] = ()
    reason: Literal["fault", "not blurred"] = "fault"
    error: Outcome | None = None


def frames_fingerprint(deblurrer: Deblurrer, temporal: float, least_px: float = 0.0) -> str:
    """Return a fingerprint of the weights and all settings; without a blend, frames are photos.

    With a blend ``least_px`` counts, too: nothing is blended with a frame that is kept.
    """
    if not temporal:
        return deblurrer.fingerprint
    return fingerprint_of(deblurrer.fingerprint, temporal, *([least_px] if least_px else []))


def content_of_frames(jobs: Sequence[Job], temporal: float) -> Callable[[Path], str]:
    """Return the function that tells what the result of a frame is made from: with a blend, also its neighbours."""
    if not temporal:
        return content_of
    beside: dict[Path, list[Path]] = {}
    for frames in _by_folder(jobs).values():
        sources = [job.source for job in frames]
        for number, source in enumerate(sources):
            beside[source] = sources[max(0, number - 1) : number + 2]

    @lru_cache(maxsize=4)
    def content(path: Path) -> str:
        try:
            return content_of(path)
        except OSError:  # a frame that cannot be read is not blended
            return ""

    return lambda path: fingerprint_of(beside[path].index(path), *map(content, beside[path]))


def _by_folder(jobs: Sequence[Job]) -> dict[Path, list[Job]]:
    folders: dict[Path, list[Job]] = {}
    for job in jobs:
        folders.setdefault(job.source.parent, []).append(job)  # a subfolder can come between the frames
    return folders


def restore_frames(
    deblurrer: Deblurrer,
    jobs: Sequence[Job],
    temporal: float,
    is_done: Callable[[Job], bool],
    *,
    allow_large: bool = False,
    least_px: float = 0.0,
) -> Iterator[Outcome]:
    """Restore the frames of each folder in order. Frames that are done are only used for their neighbours.

    Args:
        deblurrer: The deblurrer.
        jobs: The frames; those of one folder are in order.
        temporal: The strength of the blend of neighbours, in [0, 1].
        is_done: Whether the result of a job exists already.
        allow_large: Whether to read frames that seem too large for the free memory.
        least_px: As in ``run_batch``.

    Yields:
        The outcome of each frame.
    """
    made_by = frames_fingerprint(deblurrer, temporal, least_px)
    content = content_of_frames(jobs, temporal)

    def mark_for(path: Path) -> Mark:
        return Mark(made_by, path.stat().st_size, content(path))

    for folder, frames in _by_folder(jobs).items():
        with Progress(f"{folder.name}, frames", len(frames)) as progress:
            for run, is_made in groupby(range(len(frames)), key=lambda number: is_done(frames[number])):
                numbers = list(is_made)
                if run:
                    yield from (Outcome(frames[number], done_before=True) for number in numbers)
                else:
                    reach = int(temporal > 0)
                    read = frames[max(0, numbers[0] - reach) : numbers[-1] + 1 + reach]
                    wanted = {frames[number] for number in numbers}
                    restored = (_restored(deblurrer, job, mark_for, allow_large, least_px) for job in read)
                    for frame, others in with_neighbours(restored, temporal):
                        if frame.stored.job in wanted:
                            yield _written(frame, others, temporal)
                            progress.advance()


def _restored(
    deblurrer: Deblurrer, job: Job, mark_for: Callable[[Path], Mark], allow_large: bool, least_px: float
) -> RestoredFrame:
    faults: list[str] = []
    try:
        mark = mark_for(job.source)
        image = read_image(job.source, allow_large=allow_large)
        if why := not_blurred(image.pixels, least_px):
            return RestoredFrame(
                image.pixels, image.pixels, _Restored(job, image, mark, reason="not blurred"), kept=why
            )
        pixels = deblurrer.restore_pixels(image.pixels, on_unreliable=faults.append)
    except Exception as error:  # decoders raise many types; the other frames continue
        return RestoredFrame(NOTHING, NOTHING, _Restored(job, None, error=Outcome.failed(job, error)))
    kept = faults[0] if faults and deblurrer.guarded else ""
    return RestoredFrame(image.pixels, pixels, _Restored(job, image, mark, tuple(faults)), kept=kept)


def _written(frame: RestoredFrame, others: list[RestoredFrame], temporal: float) -> Outcome:
    restored: _Restored = frame.stored
    job, image = restored.job, restored.image
    if image is None or restored.mark is None:
        return restored.error or Outcome(job)
    try:
        if frame.kept:
            return keep(job, restored.reason, frame.kept, image)
        frame = blended(frame, others, temporal)
        result = image.with_pixels(frame.pixels)
        if job.comparison is not None:
            write_image(job.comparison, side_by_side(image, result))
        return write_result(job, result, restored.mark, sharpness(frame.blurry), restored.faults)
    except Exception as error:  # the memory can be full, and encoders raise many types; the other frames continue
        return Outcome.failed(job, error)
