"""Conversion between the stored frames of a video and RGB arrays, by FFmpeg's swscale with exact rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.io.video.properties import FULL, LIMITED, VideoProperties

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

BICUBIC, FULL_CHROMA, EXACT_ROUNDING = 0x4, 0x2000 | 0x4000, 0x40000 | 0x80000
FLAGS = BICUBIC | FULL_CHROMA | EXACT_ROUNDING  # without the last, luma is off by one level


def to_rgb(frame: VideoFrame) -> NDArray[Any]:
    """Return the pixels of a stored frame as RGB ``h w 3``: uint8, or uint16 if it has more than 8 bits."""
    deep = max(component.bits for component in frame.format.components) > 8
    return frame.to_ndarray(
        format="rgb48le" if deep else "rgb24",
        interpolation=FLAGS,
        src_color_range=frame.color_range or LIMITED,
        dst_color_range=FULL,
        threads=1,
    )


def from_rgb(pixels: NDArray[Any], video: VideoProperties, pix_fmt: str) -> VideoFrame:
    """Return RGB pixels ``h w 3`` as a frame in a pixel format, with the colours of a video."""
    from av.video.frame import VideoFrame

    frame = VideoFrame.from_ndarray(pixels, format="rgb48le" if pixels.itemsize == 2 else "rgb24")
    chosen, frame.color_primaries, frame.color_trc, frame.colorspace = video.colours
    frame.color_range = FULL
    stored = frame.reformat(
        format=pix_fmt,
        interpolation=FLAGS,
        src_color_range=FULL,
        dst_color_range=chosen or LIMITED,
        threads=1,
    )
    stored.color_range = chosen
    return stored


def with_changes(stored: VideoFrame, before: NDArray[Any], after: NDArray[Any], video: VideoProperties) -> VideoFrame:
    """Return a stored frame with the changes from its RGB pixels before to those after, ``h w 3``.

    Both are converted, and their difference is added. So what does not change stays exact, although RGB and back is
    not: chroma has fewer pixels, and swscale rounds full range at 10 bits.
    """
    changed = from_rgb(after, video, video.pix_fmt)
    planes = zip(*(_planes(frame) for frame in (stored, from_rgb(before, video, video.pix_fmt), changed)), strict=True)
    top = (1 << video.depth) - 1
    for kept, old, new in planes:
        new[:] = np.clip(kept.astype(np.int32) + new - old, 0, top)
    return changed


def _planes(frame: VideoFrame) -> list[NDArray[Any]]:
    """Return the planes of a frame, each with one component, as arrays that share its memory."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    stored: list[Any] = list(frame.planes)  # PyAV's stubs do not say that they are buffers
    return [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] for plane in stored]
