"""The frames of a video in order, with a gap where frames are missing or damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.video.decoding import Damage, Frame, OnBad
from tfmlc.io.video.folders import read_folder
from tfmlc.io.video.search import Video

UNEVEN = 0.4  # of the usual time between frames; containers that count milliseconds are off by 0.02
Tell = Callable[[str], None]


def read_frames(video: Video, *, on_bad: OnBad = "stop", tell: Tell = lambda _: None) -> Iterator[Frame | None]:
    """Frames of a video, RGB uint8 ``h w 3``, in order; None where frames are missing.

    Missing are gaps in a folder's numbers and, with ``on_bad="skip"``, frames that cannot be read, are damaged, or hang
    on such; ``tell`` is called with a line about each stretch. What a container promises and what was decoded are
    compared. Raises UserError for a video that cannot be read at all, a folder with names of two kinds, two files of
    one frame or images of two sizes, and, with ``"stop"``, for the first frame that cannot be read.
    """
    return read_folder(video, on_bad, tell) if video.frames else _read_video(video.path, on_bad, tell)


def _decoded(path: Path, times: list[float]) -> Iterator[Frame | Damage]:
    """By PyAV, which sees damage, where it is installed (extra ``video``), else by OpenCV: the pixels are the same."""
    if find_spec("av") is not None:
        from tfmlc.io.video.by_pyav import decode
    else:
        from tfmlc.io.video.by_opencv import decode
    try:
        yield from decode(path, times)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # whatever the decoder says of a damaged file
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
            raise UserError(f"{_line(path, [item], count)} (on_bad=skip takes what can be read)")
        if not stretch:
            yield None
        whole = False
        stretch.append(item)
    if count == 0:
        raise UserError(
            f"{path} cannot be decoded: not a video, damaged, or of a codec that is not known here; "
            f"'ffmpeg -i {path.name} -c:v libx264 -crf 12 new.mp4' makes one that is"
        )
    if stretch:
        _tell(path, stretch, count, tell)
    steps = np.diff(times[1:])  # the first is off in some containers
    if whole and len(steps) > 1 and float(np.abs(steps / max(float(np.median(steps)), 1e-6) - 1).max()) > UNEVEN:
        tell(f"{path} has a variable frame rate: its frames are taken as equally spaced")


def _tell(path: Path, stretch: list[Damage], count: int, tell: Tell) -> None:
    """A line on all the damage that has a time, and one on each that has none."""
    timed = [item for item in stretch if item.time_s is not None]
    for part in ([timed] if timed else []) + [[item] for item in stretch if item.time_s is None]:
        tell(_line(path, part, count))


def _line(path: Path, stretch: list[Damage], count: int) -> str:
    """What is wrong, where, in a line."""
    first, last = stretch[0], stretch[-1]
    if first.time_s is None:
        return f"{path} {first.why}"
    where = f"{first.time_s:.2f} s"
    if len(stretch) > 1 and last.time_s is not None:
        where += f" to {last.time_s:.2f} s"
    return f"{path}: after {count} good frames, at {where}: {first.why}"
