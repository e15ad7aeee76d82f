"""Reading the frames of a video in order, with gaps where frames are missing or damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.video.decoding import Damage, Frame, OnBad
from tfmlc.io.video.folders import read_folder
from tfmlc.io.video.search import Video

UNEVEN = 0.4  # of the usual frame interval; rounding to milliseconds changes it by up to 0.02
Tell = Callable[[str], None]


def read_frames(video: Video, *, on_bad: OnBad = "stop", tell: Tell = lambda _: None) -> Iterator[Frame | None]:
    """Read the frames of a video in order.

    Args:
        video: The video, from ``find_videos``.
        on_bad: What to do at a frame that cannot be read, is damaged or depends on a damaged frame: ``"stop"`` raises
            an error, ``"skip"`` leaves a gap.
        tell: Called with a line about each gap.

    Yields:
        The frames, RGB uint8 ``h w 3``, and None for each gap: frames that are missing in a folder or were skipped.

    Raises:
        UserError: If the video cannot be read at all, the files of a folder are not the frames of one video, or, with
            ``"stop"``, a frame cannot be read.
    """
    return read_folder(video, on_bad, tell) if video.frames else _read_video(video.path, on_bad, tell)


def _decoded(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
    """Decode with PyAV, which reports damage, if it is installed (extra ``video``), else with OpenCV.

    The pixels are the same.
    """
    if find_spec("av") is not None:
        from tfmlc.io.video.by_pyav import decode
    else:
        from tfmlc.io.video.by_opencv import decode
    try:
        yield from decode(path, times)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise many types for a damaged file
        yield Damage(f"cannot be decoded further: {' '.join(str(error).split()) or type(error).__name__:.300}")


def _read_video(path: Path, on_bad: OnBad, tell: Tell) -> Iterator[Frame | None]:
    times: list[float] = []  # of the frames, in s
    count, whole = 0, True
    stretch: list[Damage] = []
    for item in _decoded(path, times):
        if not isinstance(item, Damage):
            if stretch:
                _tell(path, stretch, count, tell)
                stretch = []
            count += 1
            yield item
            continue
        if on_bad == "stop":
            raise UserError(f"{_line(path, [item], count)} (on_bad=skip uses the frames that can be read)")
        if not stretch:
            yield None
        whole = False
        stretch.append(item)
    if count == 0:
        raise UserError(
            f"{path} cannot be decoded: it is not a video, is damaged or has an unknown codec; "
            f"try to convert it: ffmpeg -i {path.name} -c:v libx264 -crf 12 new.mp4"
        )
    if stretch:
        _tell(path, stretch, count, tell)
    steps = np.diff(times[1:])  # the first is off in some containers
    if whole and len(steps) > 1 and float(np.abs(steps / max(float(np.median(steps)), 1e-6) - 1).max()) > UNEVEN:
        tell(f"{path} has a variable frame rate: its frames are treated as equally spaced")


def _tell(path: Path, stretch: list[Damage], count: int, tell: Tell) -> None:
    """Report one line for all damage with a time, and one for each damage without."""
    timed = [item for item in stretch if item.time_s is not None]
    for part in ([timed] if timed else []) + [[item] for item in stretch if item.time_s is None]:
        tell(_line(path, part, count))


def _line(path: Path, stretch: list[Damage], count: int) -> str:
    """Describe a stretch of damage in one line."""
    first, last = stretch[0], stretch[-1]
    if first.time_s is None:
        return f"{path} {first.why}"
    where = f"{first.time_s:.2f} s"
    if len(stretch) > 1 and last.time_s is not None:
        where += f" to {last.time_s:.2f} s"
    return f"{path}: after {count} good frames, at {where}: {first.why}"
