"""Films as arrays: video files and folders of frames, looked at one frame at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.images import is_image_name, natural_key, read_rgb8

Frame = NDArray[np.uint8]
OnBad = Literal["stop", "skip"]
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
UNEVEN = 0.4  # of the usual time between frames; containers that count milliseconds are off by 0.02
COUNTING_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi")  # others do not say how many frames they have
FRAMES_THE_HEADER_MAY_MISS = 2


@dataclass(frozen=True)
class Clip:
    """A film: a video file, or a folder of frames in natural order (``frames``, file names).

    ``name`` tells it apart from the others of the same search, without suffix.
    """

    path: Path
    name: str
    frames: tuple[str, ...] = ()


def is_video_name(path: Path) -> bool:
    """Whether a file's name says that it is a video of a kind read here."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_clips(inputs: Iterable[Path], *, leave_out: Path | None = None, of_frames: bool = True) -> list[Clip]:
    """Every film in ``inputs``: video files, folders of frames, and folders that hold such (as GOPRO_Large_all).

    The folder ``leave_out`` is not searched; without ``of_frames``, pictures in a folder are no frames.
    Raises UserError for a missing path, a file that is no video, a folder without films, and two films of one name.
    """
    clips: dict[str, Clip] = {}
    for path in inputs:
        found = list(_clips_at(path, leave_out.resolve() if leave_out is not None else None, of_frames=of_frames))
        if not found:
            raise UserError(f"no films in {path}: {' '.join(VIDEO_SUFFIXES)} and folders of frames are looked for")
        for clip in found:
            if clip.name in clips and clips[clip.name].path != clip.path:
                raise UserError(f"{clips[clip.name].path} and {clip.path} have one name; give the folder they share")
            clips[clip.name] = clip
    return list(clips.values())


def _clips_at(path: Path, leave_out: Path | None, *, of_frames: bool) -> Iterator[Clip]:
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if path.is_file():
        if not is_video_name(path):
            raise UserError(f"{path} is no video: {' '.join(VIDEO_SUFFIXES)} and folders of frames are films")
        yield Clip(path, path.stem)
        return
    for inner in sorted([path, *path.rglob("*")], key=natural_key):
        if leave_out is not None and leave_out in (inner.resolve(), *inner.resolve().parents):
            continue
        parts = inner.relative_to(path).parts
        name = "-".join([*parts[:-1], Path(parts[-1]).stem]) if parts else path.resolve().name
        if inner.is_dir():
            frames = sorted((file for file in inner.iterdir() if is_image_name(file)), key=natural_key)
            if frames and of_frames:
                yield Clip(inner, name, tuple(file.name for file in frames))
        elif is_video_name(inner):
            yield Clip(inner, name)


def frame_number(name: str) -> tuple[str, int | None]:
    """What precedes the last number of a frame's name, and that number.

    >>> frame_number("walk_0012.png"), frame_number("cover.png")
    (('walk_', 12), ('cover', None))
    """
    stem = Path(name).stem
    digits = len(stem) - len(stem.rstrip("0123456789"))
    return (stem[:-digits], int(stem[-digits:])) if digits else (stem, None)


def read_frames(
    clip: Clip, *, on_bad: OnBad = "stop", tell: Callable[[str], None] = lambda _: None
) -> Iterator[Frame | None]:
    """Frames of a film, RGB uint8 ``h w 3``, in order; None where frames are missing.

    Missing are gaps in a folder's numbers and, with ``on_bad="skip"``, frames that cannot be read; ``tell`` is
    called with a line about each. Raises UserError for a film that cannot be read at all, a folder with names
    of two kinds or pictures of two sizes, and, with ``"stop"``, for the first frame that cannot be read.
    """
    return _read_folder(clip, on_bad, tell) if clip.frames else _read_video(clip.path, on_bad, tell)


def _read_folder(clip: Clip, on_bad: OnBad, tell: Callable[[str], None]) -> Iterator[Frame | None]:
    numbered = [(*frame_number(name), name) for name in clip.frames]
    kinds = {prefix if number is not None else "" for prefix, number, _ in numbered}
    if len(kinds) > 1:
        examples = {prefix: name for prefix, _, name in numbered}
        raise UserError(f"{clip.path} mixes names ({', '.join(list(examples.values())[:3])}): one film a folder")
    size: tuple[int, ...] | None = None
    before: int | None = None
    for _, number, name in numbered:
        if before is not None and number is not None and number > before + 1:
            tell(f"{clip.path}: frames {before + 1} to {number - 1} are missing")
            yield None
        before = number
        try:
            frame = read_rgb8(clip.path / name)
        except UserError as error:
            if on_bad == "stop":
                raise
            tell(str(error))
            yield None
            continue
        if size is not None and frame.shape != size:
            raise UserError(
                f"{clip.path / name} is {frame.shape[1]}x{frame.shape[0]}, the frames before it {size[1]}x{size[0]}"
            )
        size = frame.shape
        yield frame


def _read_video(path: Path, on_bad: OnBad, tell: Callable[[str], None]) -> Iterator[Frame | None]:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what goes wrong is told below, in a line
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    index, times = 0, [0.0]
    try:
        while True:
            time = float(capture.get(cv2.CAP_PROP_POS_MSEC))
            read, frame = capture.read()
            if not read:
                break
            times.append(time)
            index += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB, dst=frame), np.uint8)
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if index == 0:
        raise UserError(
            f"{path} cannot be decoded: not a video, damaged, or of a codec that is not known here; "
            f"'ffmpeg -i {path.name} -c:v libx264 -crf 12 new.mp4' makes one that is"
        )
    if path.suffix.lower() in COUNTING_SUFFIXES and index < promised - FRAMES_THE_HEADER_MAY_MISS:
        line = f"{path} ends after {index} of {promised} frames: it is cut off or damaged"
        if on_bad == "stop":
            raise UserError(f"{line}; --on-bad skip takes what can be read")
        tell(line)
    steps = np.diff(times[2:])
    if len(steps) > 1 and float(np.abs(steps / max(float(np.median(steps)), 1e-3) - 1).max()) > UNEVEN:
        tell(f"{path} has a variable frame rate: its frames are taken as equally spaced")
