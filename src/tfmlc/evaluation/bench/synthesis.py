"""What making triplets costs beside merely decoding the film, and how its memory depends on the window."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from tfmlc.data.films import FilmConfig
from tfmlc.data.synthesis import folders, make_film
from tfmlc.evaluation.bench.measure import in_new_process, timed
from tfmlc.images import Picture, write_image
from tfmlc.video import Clip, find_clips, read_frames

FOLDER_FRAMES = 150
WINDOWS = (15, 150)
NAMES = folders("triplets", 2)


def bench_synthesis(film: Path, repeats: int = 3) -> dict[str, Any]:
    """Speed of making triplets relative to decoding the same frames, one process each, best of ``repeats``.

    Of the film itself and of its first 150 frames as a folder of PNG files; and the peak memory of processes that
    average windows of 15 and of 150 frames. Seconds, MiB.
    """
    clip = find_clips([film])[0]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for index, frame in zip(range(FOLDER_FRAMES), read_frames(clip), strict=False):
            if frame is not None:
                write_image(work / "frames" / f"{index:06d}.png", Picture(frame))
        rows = [
            _compare(name, one, work / "out", repeats)
            for name, one in (("video", clip), ("PNG folder", find_clips([work / "frames"])[0]))
        ]
        peaks = {frames: in_new_process(_peak_mib, clip, work / f"peak{frames}", frames) for frames in WINDOWS}
    return {"film": film.name, "rows": rows, "peak_mib": {str(frames): round(peak) for frames, peak in peaks.items()}}


def _compare(name: str, clip: Clip, output: Path, repeats: int) -> dict[str, Any]:
    cv2.setNumThreads(1)
    config = FilmConfig()

    def decode() -> int:
        return sum(frame is not None for frame in read_frames(clip))

    def make() -> int:
        made = make_film(clip, output=output, names=NAMES, film=config, whole=frozenset())
        return sum(bool(row["files"]) for row in made.rows)

    frames, triplets = decode(), make()
    decoding = min(timed(decode)[1] for _ in range(repeats))
    making = min(timed(make)[1] for _ in range(repeats))
    return {
        "source": name,
        "frames": frames,
        "triplets": triplets,
        "decoding_s": round(decoding, 3),
        "making_s": round(making, 3),
        "relative_speed": round(decoding / making, 3),
    }


def _peak_mib(clip: Clip, output: Path, frames: int) -> float:
    config = FilmConfig(min_frames=frames, min_displacement_px=0)
    make_film(clip, output=output, names=NAMES, film=config, whole=frozenset())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
