"""The time of making triplets compared with its parts, and the memory for windows of two lengths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfmlc.bench.measure import PeakMemory, in_new_process, timed
from tfmlc.data.synthesis.making import make_video
from tfmlc.data.synthesis.planning import folders
from tfmlc.data.synthesis.videos import VideoBlurConfig, video_windows
from tfmlc.io.images import Image, write_image
from tfmlc.io.video import Video, find_videos, read_frames
from tfmlc.runtime.parallel import worker_pool

FOLDER_FRAMES = 150
WINDOWS = (15, 150)
NAMES = folders("triplets", 2)


def bench_synthesis(path: Path, repeats: int = 3) -> dict[str, Any]:
    """Measure how fast triplets are made, compared with only decoding the same frames, and with also tracking them.

    The sources are the video itself and a folder of PNG files with its first 150 frames. They are processed by one
    process, and by one process per core, where each process takes the whole source. The memory is that of a process
    which averages windows of 15 and of 150 frames.

    Args:
        path: The video.
        repeats: The number of runs. The fastest one counts.

    Returns:
        Seconds; the speed relative to decoding, and relative to decoding and tracking, which finds the windows; and
        extra memory in MiB.

    Raises:
        UserError: If the video cannot be read.
    """
    video = find_videos([path])[0]
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for index, frame in zip(range(FOLDER_FRAMES), read_frames(video), strict=False):
            if frame is not None:
                write_image(work / "frames" / f"{index:06d}.png", Image(frame))
        rows = [
            {"source": name, **_compare(one, work / "out", repeats, processes)}
            for name, one in (("video", video), ("PNG folder", find_videos([work / "frames"])[0]))
            for processes in sorted({1, os.cpu_count() or 1})
        ]
        peaks = {frames: in_new_process(_extra_mib, video, work / f"peak{frames}", frames) for frames in WINDOWS}
    return {"video": video.name, "rows": rows, "extra_mib": {str(frames): round(mib) for frames, mib in peaks.items()}}


def _compare(video: Video, output: Path, repeats: int, processes: int) -> dict[str, Any]:
    with worker_pool(processes) as pool:

        def all_of(work: Callable[[Video, Path], int]) -> int:
            jobs = [pool.submit(work, video, output / str(number)) for number in range(processes)]
            return sum(job.result() for job in jobs)

        frames, triplets = all_of(_decode), all_of(_make)
        decoding, tracking, making = (
            min(timed(lambda work=work: all_of(work))[1] for _ in range(repeats)) for work in (_decode, _track, _make)
        )
    return {
        "processes": processes,
        "frames": frames,
        "triplets": triplets,
        "decoding_s": round(decoding, 3),
        "tracking_s": round(tracking, 3),
        "making_s": round(making, 3),
        "relative_speed": round(decoding / making, 3),
        "of_tracking": round(tracking / making, 3),
    }


def _decode(video: Video, output: Path) -> int:  # noqa: ARG001 - the same parameters as _make
    return sum(frame is not None for frame in read_frames(video))


def _track(video: Video, output: Path) -> int:  # noqa: ARG001 - the same parameters as _make
    return sum(1 for _ in video_windows(video, VideoBlurConfig(), lambda _: None))


def _make(video: Video, output: Path, config: VideoBlurConfig | None = None) -> int:
    made = make_video(video, output=output, names=NAMES, config=config or VideoBlurConfig(), whole=frozenset())
    return sum(bool(row["files"]) for row in made.rows)


def _extra_mib(video: Video, output: Path, frames: int) -> float:
    with PeakMemory() as peak:
        _make(video, output, VideoBlurConfig(min_frames=frames, min_displacement_px=0))
    return peak.extra_mib
