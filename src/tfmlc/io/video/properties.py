"""What a video file is: its size, times, colours and codec, and whether it can be written again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tfmlc.errors import UserError
from tfmlc.io.images import kind_of_file
from tfmlc.io.video.covers import is_cover, main_video
from tfmlc.io.video.decoding import Damage, as_file

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

PQ = 16  # a transfer characteristic of ITU-T H.273
BT709 = 1  # a matrix
LIMITED, FULL = 1, 2  # colour ranges
USUAL_RATE = Fraction(25)
FOR_VIDEO = "install the extra: pip install 'tfmlc[video]'"
BESIDE_FRAMES = {  # FFmpeg's names of what no encoder here writes, and what it is
    "STEREO3D": "its 3D layout",
    "SPHERICAL": "its 360-degree projection",
    "A53_CC": "its closed captions",
    "DOVI_METADATA": "its Dolby Vision data",
    "DYNAMIC_HDR_PLUS": "its HDR10+ data",
}
MARK = re.compile(r"\n?\[tfmlc:restored (.*?)\]")


@dataclass(frozen=True)
class VideoProperties:
    """The properties of a video file that its restored version keeps.

    Attributes:
        path: The file.
        codec: The name of its codec.
        width: The width of the stored frames in px.
        height: The height of the stored frames in px.
        pix_fmt: FFmpeg's name of the pixel format, without the mark of full range.
        depth: The bits of a value.
        time_base: The unit of timestamps in s.
        rate: The mean number of frames per second.
        frames: About how many frames there are; None if the file does not say it.
        colours: The colour range, primaries, transfer characteristic and matrix, as numbers of ITU-T H.273; for RGB the
            range and the matrix of the YCbCr that is written.
        pixel_aspect: The width of a pixel by its height; None if the file does not say it.
        display_matrix: The rotation for display, as FFmpeg's nine numbers; None if there is none.
        mark: The text of the mark of a restored video; None if there is none.
        left_out: What the first frame carries and a restored version does not, in words.
    """

    path: Path
    codec: str
    width: int
    height: int
    pix_fmt: str
    depth: int
    time_base: Fraction
    rate: Fraction
    frames: int | None
    colours: tuple[int, int, int, int]
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    mark: str | None
    left_out: tuple[str, ...]


def has_pyav() -> bool:
    """Whether the extra that writes videos is installed."""
    return find_spec("av") is not None


def open_video(path: Path) -> Any:
    """Open a video file with PyAV. Raises UserError if it cannot be read or is not a video."""
    if not has_pyav():
        raise UserError(f"cannot read {path}: {FOR_VIDEO}")
    import av
    from av.error import FFmpegError

    kind = kind_of_file(path)
    if kind is not None and "video" not in kind.name:
        raise UserError(f"{path} is {kind.name}, not a video")
    try:
        return av.open(as_file(path), metadata_errors="replace")
    except (FFmpegError, OSError) as error:
        raise _no_video(path) from error


def video_mark(path: Path) -> str | None:
    """Return the mark of a restored video; None if it has none. Raises UserError if the file is not a video."""
    with open_video(path) as container:
        return _mark_in(container.metadata)


def read_properties(path: Path) -> VideoProperties:
    """Read the properties of a video file from its header and its first frame.

    Raises:
        UserError: If the file is not a video, has no frame that can be decoded, or is of a kind whose restoration
            would be wrong: PQ (HDR) and interlaced.
    """
    with open_video(path) as container:
        stream = main_video(container)
        if stream is None or stream.codec_context is None:
            kinds = sorted({"a cover" if is_cover(one) else one.type for one in container.streams})
            raise UserError(f"{path} has no video stream, only {' and '.join(kinds) or 'an empty container'}")
        frame = next(_good_frames(path), None)
        if frame is None:
            raise _no_video(path)
        rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
        duration_s = container.duration / 1_000_000 if container.duration else 0
        aspect = stream.sample_aspect_ratio
        found = VideoProperties(
            path=path,
            codec=stream.codec_context.codec.canonical_name,
            width=frame.width,
            height=frame.height,
            pix_fmt=frame.format.name.replace("yuvj", "yuv"),
            depth=max(component.bits for component in frame.format.components),
            time_base=stream.time_base or 1 / rate,
            rate=rate,
            frames=stream.frames or round(duration_s * float(rate)) or None,
            colours=_colours(frame),
            pixel_aspect=aspect if aspect and aspect > 0 else None,
            display_matrix=_display_matrix(frame),
            mark=_mark_in(container.metadata),
            left_out=tuple(what for kind, what in BESIDE_FRAMES.items() if _beside(frame, kind) is not None),
        )
    _check(found, interlaced=frame.interlaced_frame)
    return found


def with_mark(metadata: dict[str, str], mark: str) -> dict[str, str]:
    r"""Return the metadata of a container with the mark of a restored video at the end of its comment.

    >>> with_mark({"comment": "Rome"}, "by me")
    {'comment': 'Rome\n[tfmlc:restored by me]'}
    """
    key = next((key for key in metadata if key.lower() == "comment"), "comment")
    before = MARK.sub("", metadata.get(key, ""))
    return {**metadata, key: f"{before}\n[tfmlc:restored {mark}]" if before else f"[tfmlc:restored {mark}]"}


def _mark_in(metadata: dict[str, str]) -> str | None:
    comments = (text for key, text in metadata.items() if key.lower() == "comment")
    return next((found[1] for text in comments if (found := MARK.search(text))), None)


def _good_frames(path: Path) -> Iterator[VideoFrame]:
    from tfmlc.io.video.by_pyav import decode_stored

    return (item for item in decode_stored(path) if not isinstance(item, Damage))


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    data = _beside(frame, "DISPLAYMATRIX")
    return None if data is None else tuple(int(value) for value in np.frombuffer(data, np.int32)[:9])


def _beside(frame: VideoFrame, kind: str) -> Any:
    """Return the data of a kind that a frame carries beside its pixels, or None."""
    return cast("dict[str, Any]", frame.side_data).get(kind)


def _colours(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Return the colours with which a video is written; RGB becomes YCbCr, which needs a matrix and a range."""
    level, matrix, stored = frame.color_range, frame.colorspace, frame.format
    if stored.is_rgb or stored.has_palette:
        level, matrix = LIMITED, BT709
    elif len(stored.components) <= 2:  # grey has the full range; what H.264 decodes it to has the limited one
        level = level or FULL
    return level, frame.color_primaries, frame.color_trc, matrix


def _check(video: VideoProperties, *, interlaced: bool) -> None:
    if video.colours[2] == PQ:
        raise UserError(
            f"{video.path} is HDR with PQ brightness, which the models do not know: convert it to SDR or HLG first"
        )
    if interlaced:
        raise UserError(
            f"{video.path} is interlaced, and its half-frames would be taken for blur: deinterlace it first, "
            f"for example with ffmpeg -i {video.path.name} -vf bwdif new.mp4"
        )


def _no_video(path: Path) -> UserError:
    return UserError(
        f"{path} cannot be decoded: it is not a video, is damaged or has an unknown codec; download or copy it again"
    )
