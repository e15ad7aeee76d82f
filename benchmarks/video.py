"""Memory and speed of deblurring a video by its length, and flicker by the strength of the temporal blend.

python benchmarks/video.py ../shared/data/video/gopro_walk_30fps.mp4 ../shared/data/video/drone_30fps.mp4
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfmlc.bench.measure import PeakMemory, in_new_process, timed
from tfmlc.deblur import Deblurrer, VideoSettings, deblur_video
from tfmlc.deblur.sharpness import sharpness
from tfmlc.deblur.temporal import RestoredFrame, smoothed
from tfmlc.io.video import read_properties
from tfmlc.io.video.by_pyav import decode_stored
from tfmlc.io.video.decoding import Damage, Frame
from tfmlc.io.video.encoding import Encoding, encode
from tfmlc.io.video.motion import flow_of, pull
from tfmlc.io.video.pixels import from_rgb, to_rgb
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

OUTPUT = Path(__file__).parent.parent / "results" / "bench" / "video.json"
LENGTHS = (30, 300)
SIZE_PX = (96, 160)
FLICKER_PX, FLICKER_FRAMES, FIRST = (192, 256), 12, 60
STRENGTHS = (0.0, 0.3, 0.5, 1.0)
SAME = 6.0  # levels; pixels that differ by more along the motion are hidden in one of the frames
ENCODING = Encoding("h264", 17, "yuv420p")


def frames_of(path: Path, height: int, width: int) -> Iterator[Frame]:
    """The middle of each frame."""
    for frame in decode_stored(path):
        if not isinstance(frame, Damage):
            pixels = to_rgb(frame)
            top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
            yield np.ascontiguousarray(pixels[top : top + height, left : left + width])


def cut(source: Path, target: Path, length: int) -> None:
    """Write a small clip of a length."""
    video = replace(read_properties(source), height=SIZE_PX[0], width=SIZE_PX[1])
    shown = islice(cycle(list(islice(frames_of(source, *SIZE_PX), 60))), length)
    encode(target, (from_rgb(pixels, video, ENCODING.pix_fmt) for pixels in shown), video, ENCODING)


def copy(source: Path, target: Path) -> None:
    """Decode and encode as a restoration does, without restoring."""
    video = read_properties(source)
    frames = (frame for frame in decode_stored(source) if not isinstance(frame, Damage))
    encode(target, (from_rgb(to_rgb(frame), video, ENCODING.pix_fmt) for frame in frames), video, ENCODING)


def restore(source: Path, target: Path) -> None:
    deblur_video(source, target, deblurrer=Deblurrer.load("default"), settings=VideoSettings(codec="h264"))


def extra_mib(source: Path, target: Path) -> float:
    with PeakMemory() as peak:
        restore(source, target)
    return peak.extra_mib


def by_length(source: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for length in LENGTHS:
            clip = folder / f"{length}.mkv"
            cut(source, clip, length)
            plain_s = timed(partial(copy, clip, folder / "copy.mkv"))[1]
            restored_s = timed(partial(restore, clip, folder / "restored.mkv"))[1]
            rows.append(
                {
                    "frames": length,
                    "size": f"{SIZE_PX[1]}x{SIZE_PX[0]}",
                    "extra_mib": round(in_new_process(extra_mib, clip, folder / "again.mkv"), 1),
                    "frames_per_s": round(length / restored_s, 2),
                    "plain_frames_per_s": round(length / plain_s, 2),
                }
            )
    return rows


def flicker(frames: list[Frame], blurry: list[Frame]) -> float:
    """The mean difference of neighbouring frames along the motion of the blurry ones, in levels."""
    found: list[float] = []
    for (before, now), (old, new) in zip(pairwise(frames), pairwise(blurry), strict=True):
        flow = flow_of(*(np.asarray(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), np.uint8) for one in (old, new)))
        same = np.abs(pull(new, flow).astype(np.float32) - old).max(axis=2) < SAME
        found.append(float(np.abs(pull(now, flow, cv2.INTER_CUBIC).astype(np.float32) - before)[same].mean()))
    return float(np.mean(found))


def by_strength(source: Path) -> dict[str, Any]:
    deblurrer = Deblurrer.load("default")
    blurry = list(islice(frames_of(source, *FLICKER_PX), FIRST, FIRST + FLICKER_FRAMES))
    restored = [RestoredFrame(one, deblurrer.restore_pixels(one)) for one in blurry]
    rows: list[dict[str, float]] = []
    for strength in STRENGTHS:
        frames = [one.pixels for one in smoothed(restored, strength)]
        sharp = float(np.mean([sharpness(one) for one in frames]))
        rows.append({"strength": strength, "flicker": round(flicker(frames, blurry), 3), "sharpness": round(sharp, 1)})
    return {"video": source.stem, "frames": len(blurry), "source": round(flicker(blurry, blurry), 3), "rows": rows}


if __name__ == "__main__":
    videos = [Path(argument) for argument in sys.argv[1:]]
    with Progress("videos", 1 + len(videos)) as progress:
        lengths = by_length(videos[0])
        progress.advance()
        flickers: list[dict[str, Any]] = []
        for video in videos:
            flickers.append(by_strength(video))
            progress.advance()
    write_result(OUTPUT, {"model": "default", "video": videos[0].stem, "lengths": lengths, "flicker": flickers})
