"""Finding videos: video files and folders of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.images import is_image_name, natural_key

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")


@dataclass(frozen=True)
class Video:
    """A video: a video file, or a folder of frames in natural order (``frames``, file names).

    ``name`` tells it apart from the others of the same search, without suffix.
    """

    path: Path
    name: str
    frames: tuple[str, ...] = ()


def is_video_name(path: Path) -> bool:
    """Whether a file's name says that it is a video of a kind read here; hidden files are none."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def find_videos(inputs: Iterable[Path], *, leave_out: Path | None = None, of_frames: bool = True) -> list[Video]:
    """Every video in ``inputs``: video files, folders of frames, and folders that hold such (as GOPRO_Large_all).

    The folder ``leave_out`` and hidden ones are not searched; without ``of_frames``, images in a folder are no frames.
    Raises UserError for a missing path, a file that is no video, a folder without videos, and two videos of one name.
    """
    videos: dict[str, Video] = {}
    for path in inputs:
        found = list(_videos_at(path, leave_out.resolve() if leave_out is not None else None, of_frames=of_frames))
        if not found:
            raise UserError(f"no videos in {path}: {' '.join(VIDEO_SUFFIXES)} and folders of frames are looked for")
        for video in found:
            other = videos.setdefault(video.name, video)
            if other.path != video.path:
                way_out = "rename one" if other.path.parent == video.path.parent else "give the folder they share"
                raise UserError(f"{other.path} and {video.path} have one name; {way_out}")
    return list(videos.values())


def _videos_at(path: Path, leave_out: Path | None, *, of_frames: bool) -> Iterator[Video]:
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if path.is_file():
        if not is_video_name(path):
            raise UserError(f"{path} is no video: {' '.join(VIDEO_SUFFIXES)} and folders of frames are taken")
        yield Video(path, path.stem)
        return
    for inner in sorted([path, *path.rglob("*")], key=natural_key):
        parts = inner.relative_to(path).parts
        if any(part.startswith(".") for part in parts):
            continue
        if leave_out is not None and leave_out in (inner.resolve(), *inner.resolve().parents):
            continue
        name = "-".join([*parts[:-1], Path(parts[-1]).stem]) if parts else path.resolve().name
        if inner.is_dir():
            frames = sorted((file for file in inner.iterdir() if _is_frame(file)), key=natural_key)
            if frames and of_frames:
                yield Video(inner, name, tuple(file.name for file in frames))
        elif is_video_name(inner):
            yield Video(inner, name)


def _is_frame(file: Path) -> bool:
    return is_image_name(file) and not file.name.startswith(".")
