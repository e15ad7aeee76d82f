"""The search for videos: video files and folders of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.images import is_image_name, natural_key

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm"),
    *(".avi", ".mts", ".m2ts", ".mpg", ".mpeg", ".3gp", ".wmv"),  # are only read
)


@dataclass(frozen=True)
class Video:
    """A video file or a folder of frames.

    Attributes:
        path: The file or folder.
        name: A name without suffix, unique in its search.
        frames: The names of the frames' files in natural order; empty for a video file.
    """

    path: Path
    name: str
    frames: tuple[str, ...] = ()


def is_video_name(path: Path) -> bool:
    """Whether a file has the suffix of a supported video format and is not hidden."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def find_videos(inputs: Iterable[Path], *, leave_out: Path | None = None, of_frames: bool = True) -> list[Video]:
    """Find the videos in files and folders.

    Args:
        inputs: Video files, folders of frames, and folders that contain either (such as GOPRO_Large_all).
        leave_out: A folder that is not searched, unless it contains the searched one. Hidden folders never are.
        of_frames: Whether images in a folder are the frames of a video.

    Returns:
        The videos.

    Raises:
        UserError: If a path is missing, a file is not a video, a folder has no videos, or two videos have the same
            name.
    """
    videos: dict[str, Video] = {}
    for path in inputs:
        found = list(_videos_at(path, leave_out.resolve() if leave_out is not None else None, of_frames=of_frames))
        if not found:
            raise UserError(f"no videos in {path}: it has no {' '.join(VIDEO_SUFFIXES)} files and no folders of frames")
        for video in found:
            other = videos.setdefault(video.name, video)
            if other.path != video.path:
                way_out = "rename one" if other.path.parent == video.path.parent else "give the folder that has both"
                raise UserError(f"{other.path} and {video.path} have the same name: {way_out}")
    return list(videos.values())


def _videos_at(path: Path, leave_out: Path | None, *, of_frames: bool) -> Iterator[Video]:
    if not path.exists():
        raise UserError(f"there is no file or folder {path}")
    if path.is_file():
        if not is_video_name(path):
            raise UserError(f"{path} is not a video: give {' '.join(VIDEO_SUFFIXES)} files or folders of frames")
        yield Video(path, path.stem)
        return
    if leave_out in path.resolve().parents:
        leave_out = None
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
