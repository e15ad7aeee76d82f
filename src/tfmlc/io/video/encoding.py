"""Encoding of frames: the codecs, and the choice of one that keeps what a video has."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfmlc.errors import UserError
from tfmlc.io.video.decoding import as_file
from tfmlc.io.video.properties import VideoProperties

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

CodecName = Literal["auto", "h264", "hevc", "vp9", "av1"]
DEEPEST = 10  # bits that the encoders store
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""The containers that are written, by suffix, with FFmpeg's names."""


@dataclass(frozen=True)
class Codec:
    """A codec.

    Attributes:
        encoder: FFmpeg's name of its encoder.
        quality: The default constant rate factor; lower is better.
        worst: The highest constant rate factor.
        odd_sizes: Whether 4:2:0 can have an odd width or height.
        options: Options of the encoder. Frames are not reordered, so that the times of packets are those of frames.
        least_px: The smallest width and height.
        highest_rate: The most frames per second that the encoder knows.
    """

    encoder: str
    quality: int
    worst: int
    odd_sizes: bool
    options: Mapping[str, str]
    least_px: tuple[int, int] = (1, 1)
    highest_rate: int | None = None


CODECS = {
    "h264": Codec("libx264", 17, 51, odd_sizes=False, options={"preset": "medium", "bf": "0"}),
    "hevc": Codec(
        *("libx265", 19, 51),
        odd_sizes=False,
        options={"preset": "medium", "x265-params": "bframes=0:log-level=none"},
        least_px=(64, 16),  # x265 writes outside of its memory at widths from 33 to 48
    ),
    "vp9": Codec("libvpx-vp9", 20, 63, odd_sizes=True, options={"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "av1": Codec("libsvtav1", 20, 63, odd_sizes=True, options={"preset": "8"}, least_px=(4, 4), highest_rate=240),
}
"""The codecs that are written."""


@dataclass(frozen=True)
class Encoding:
    """How a video is encoded: the codec, the constant rate factor, and FFmpeg's name of the pixel format."""

    codec: str
    quality: int
    pix_fmt: str


def choose_encoding(video: VideoProperties, suffix: str, codec: CodecName, quality: int | None) -> Encoding:
    """Choose the codec and the pixel format that keep what a video has.

    With ``"auto"`` it is the codec of the video itself, if it is one of the table; else H.264, or HEVC for more than
    8 bits.

    Args:
        video: The properties of the video.
        suffix: The suffix of the output.
        codec: A codec of ``CODECS``, or ``"auto"``.
        quality: The constant rate factor; None takes the codec's default.

    Returns:
        The encoding.

    Raises:
        UserError: If the container cannot hold the codec, or no pixel format of the codec keeps size and depth.
    """
    usual = ("h264", "hevc") if video.depth <= 8 else ("hevc", "h264")
    wanted = [codec] if codec != "auto" else [name for name in (video.codec, *usual, "vp9", "av1") if name in CODECS]
    if codec != "auto" and codec not in CODECS:
        raise UserError(f"unknown codec {codec!r}: use auto, {', '.join(CODECS)}")
    held = [name for name in wanted if name in _held_by(CONTAINERS[suffix])]
    if not held:
        raise UserError(f"{suffix} cannot hold {codec}: use .mkv, or another codec", option="codec")
    for name in held:
        if pix_fmt := _pix_fmt(video, CODECS[name]):
            chosen = CODECS[name].quality if quality is None else quality
            if not 0 <= chosen <= CODECS[name].worst:
                raise UserError(f"the quality of {name} is a number from 0 (best) to {CODECS[name].worst}")
            return Encoding(name, chosen, pix_fmt)
    raise UserError(
        f"{video.path}: {held[0]} cannot store {video.depth} bits at {video.width}x{video.height}: use another codec",
        option="codec",
    )


def encode(target: Path, frames: Iterable[VideoFrame], video: VideoProperties, encoding: Encoding) -> None:
    """Write frames to a Matroska file of their own; its times only count the frames.

    Raises UserError if the encoder refuses them.
    """
    from av.error import FFmpegError

    try:
        _encode(target, frames, video, encoding)
    except FFmpegError as error:
        if isinstance(error, OSError):  # the disk, not the encoder
            raise
        raise UserError(
            f"{video.path}: the encoder of {encoding.codec} failed at {video.width}x{video.height} px and "
            f"{float(video.rate):g} frames a second ({error.strerror}): use another codec",
            option="codec",
        ) from error


def _encode(target: Path, frames: Iterable[VideoFrame], video: VideoProperties, encoding: Encoding) -> None:
    import av

    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings otherwise
    codec = CODECS[encoding.codec]
    options = {**codec.options, "crf": str(encoding.quality)}
    rate = min(video.rate, codec.highest_rate or video.rate)  # the real times are written when the pieces are joined
    with av.open(as_file(target), "w", format="matroska") as container:
        stream: VideoStream = container.add_stream(codec.encoder, rate=rate, options=options)  # pyright: ignore
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, encoding.pix_fmt
        context = stream.codec_context
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = video.colours
        context.time_base = 1 / Fraction(rate)
        if video.pixel_aspect is not None:
            context.sample_aspect_ratio = video.pixel_aspect
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@cache
def _held_by(container: str) -> frozenset[str]:
    import av

    with av.open(io.BytesIO(), "w", format=container) as output:
        return frozenset(output.supported_codecs)


def _pix_fmt(video: VideoProperties, codec: Codec) -> str | None:
    """Return the pixel format of a codec that is nearest to a video's and keeps its size and depth."""
    from av.codec.codec import Codec as Encoder
    from av.codec.codec import find_best_pix_fmt_of_list
    from av.video.format import VideoFormat

    if video.width < codec.least_px[0] or video.height < codec.least_px[1]:
        return None
    names = [one.name for one in Encoder(codec.encoder, "w").video_formats or ()]
    usable: list[str] = []
    for one in (VideoFormat(name) for name in names if name.startswith(("yuv4", "gray"))):
        halved = (one.chroma_width(2) == 1, one.chroma_height(2) == 1)
        odd = (video.width % 2 == 1 and halved[0]) or (video.height % 2 == 1 and halved[1])
        if min(video.depth, DEEPEST) <= one.components[0].bits <= DEEPEST and (codec.odd_sizes or not odd):
            usable.append(one.name)
    best = find_best_pix_fmt_of_list(usable, video.pix_fmt)[0] if usable else None
    return None if best is None else best.name
