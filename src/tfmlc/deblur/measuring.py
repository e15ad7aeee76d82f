"""Blurriness of files: photos and videos, and maps drawn over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.deblur.blur_meter import CELL_PX, LONGEST_PX, Blurriness, blurriness_of_pixels
from tfmlc.errors import UserError
from tfmlc.io.images import read_image, to_depth
from tfmlc.io.video import is_video_name, read_properties

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

FRAMES = 12  # of a video are measured
EVERY = 30  # frames, if the video does not say how many it has
OPACITY = 0.5
LINE_PX = 24  # of the scale below a map


@dataclass(frozen=True)
class Measured(Blurriness):
    """The blurriness of a file, with the pixels that were measured; of a video, those of its median frame."""

    pixels: NDArray[Any]


def score_file(path: Path, *, allow_large: bool = False) -> Blurriness:
    """Measure a photo or a video, without its pixels; arguments and errors are those of ``measure_file``."""
    if not is_video_name(path):
        return blurriness_of_pixels(read_image(path, allow_large=allow_large).pixels)
    return _median_frame(path)[1]


def measure_file(path: Path, *, allow_large: bool = False) -> Measured:
    """Measure a photo or a video.

    Args:
        path: The file. Of a video, some frames over its whole length are measured.
        allow_large: Whether to read a photo that seems too large for the free memory.

    Returns:
        The score, the map and the pixels. Those of a video belong to the frame with the median score; it is decoded
        twice, so that only one frame is held.

    Raises:
        UserError: If the file cannot be read.
    """
    if not is_video_name(path):
        pixels = read_image(path, allow_large=allow_large).pixels
        found = blurriness_of_pixels(pixels)
    else:
        number, found = _median_frame(path)
        frame = next(islice(_frames(path), number, None), None)
        if frame is None:
            raise UserError(f"{path} has changed while it was measured: run it again")
        pixels = _pixels(frame)
    return Measured(found.score_px, found.map_px, pixels)


def _median_frame(path: Path) -> tuple[int, Blurriness]:
    """Return the number of the frame with the median score, of some over the whole length, and what was measured."""
    frames = read_properties(path).frames  # says what to install if PyAV is missing
    every = max(1, frames // FRAMES) if frames else EVERY
    found: list[tuple[int, Blurriness]] = []
    number, frame = 0, None
    for number, frame in enumerate(_frames(path)):
        if number % every == every // 2:
            found.append((number, blurriness_of_pixels(_pixels(frame))))
        if len(found) > 2 * FRAMES:  # a long video that did not say so
            found, every = found[::2], 2 * every
    if frame is None:
        raise UserError(f"{path} has no frame that can be read")
    if not found:  # it is much shorter than it says
        found = [(number, blurriness_of_pixels(_pixels(frame)))]
    return sorted(found, key=lambda one: one[1].score_px)[len(found) // 2]


def _frames(path: Path) -> Iterator[VideoFrame]:
    from tfmlc.io.video.by_pyav import decode_stored
    from tfmlc.io.video.decoding import Damage

    return (item for item in decode_stored(path) if not isinstance(item, Damage))


def _pixels(frame: VideoFrame) -> NDArray[Any]:
    from tfmlc.io.video.decoding import upright
    from tfmlc.io.video.pixels import to_rgb

    return upright(to_rgb(frame), frame)


def drawn(measured: Measured) -> NDArray[np.uint8]:
    """Draw a map over its image, from dark (sharp) to yellow (20 px of motion or more), with a scale below."""
    grey = to_depth(measured.pixels, 8)[..., :3].mean(axis=2, keepdims=True).repeat(3, axis=2)
    height, width = grey.shape[:2]
    covered = min(height, measured.map_px.shape[0] * CELL_PX), min(width, measured.map_px.shape[1] * CELL_PX)
    lengths = np.asarray(cv2.resize(measured.map_px, covered[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    missing = [(0, whole - part) for whole, part in zip((height, width), covered, strict=True)]
    colours = _coloured(np.pad(lengths, missing, mode="edge"))
    scale = _coloured(np.tile(np.linspace(0, LONGEST_PX, width, dtype=np.float32), (LINE_PX, 1)))
    for number in range(0, int(LONGEST_PX), 5):
        place = (round(number / LONGEST_PX * width) + 2, LINE_PX - 7)
        cv2.putText(scale, f"{number} px" if number else "0", place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255))
    over = np.rint((1 - OPACITY) * grey + OPACITY * colours).astype(np.uint8)
    return np.concatenate([over, scale])


def _coloured(lengths: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels = np.rint(np.clip(lengths / LONGEST_PX, 0, 1) * 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)
