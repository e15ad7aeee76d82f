"""A blend of neighbouring frames against flicker. It follows the motion, and is off where the frames do not match."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.io.images import to_depth
from tfmlc.io.images.image import white_of
from tfmlc.io.video.decoding import Frame
from tfmlc.io.video.motion import LEAST_FLOW_PX, flow_of, is_cut, pull

MATCH = 3.0  # levels of 8 bits; blurry frames that differ by more along the motion are hardly blended
LARGEST_STEP = 6.0  # levels of 8 bits; flicker is smaller, and a larger difference is not flicker
WINDOW_PX = 7  # over which differences are averaged


@dataclass(frozen=True)
class RestoredFrame:
    """A frame before and after, ``h w c`` of the same type, and of a video also how it is stored, when and how long.

    ``kept`` says why the pixels are those before.
    """

    blurry: NDArray[Any]
    pixels: NDArray[Any]
    stored: Any = None
    pts: int = 0
    duration: int = 0
    kept: str = ""


def check_temporal(strength: float) -> None:
    """Raise UserError if the strength of the blend is not in [0, 1]."""
    if not 0 <= strength <= 1:
        raise UserError(f"the temporal blend is a number from 0 (off) to 1, not {strength}", option="temporal")


def smoothed(frames: Iterable[RestoredFrame], strength: float) -> Iterator[RestoredFrame]:
    """Blend each restored frame with its two neighbours along the motion.

    The motion is measured between the blurry frames, which do not flicker. Where they do not match along the motion
    (occlusions, changes of light) the weight falls to zero, and a neighbour changes a pixel by at most a few levels.
    So no ghosts appear. Nothing is blended across scene cuts.

    Args:
        frames: The frames in order. One frame is read ahead.
        strength: The weight of each neighbour where it matches, in [0, 1]; 0 changes nothing.

    Yields:
        The frames in order, with blended pixels.
    """
    for now, others in with_neighbours(frames, strength):
        yield blended(now, others, strength)


def with_neighbours(
    frames: Iterable[RestoredFrame], strength: float
) -> Iterator[tuple[RestoredFrame, list[RestoredFrame]]]:
    """Yield the frames in order, each with those that are blended with it. One frame is read ahead unless none is."""
    if not strength:
        yield from ((frame, []) for frame in frames)
        return
    before: RestoredFrame | None = None
    now: RestoredFrame | None = None
    for after in chain(frames, (None,)):
        if now is not None:
            yield now, [one for one in (before, after) if one is not None]
        before, now = now, after


def blended(now: RestoredFrame, others: Sequence[RestoredFrame], strength: float) -> RestoredFrame:
    """Blend a frame with its neighbours, as ``smoothed`` says; without neighbours it is returned as it is."""
    if not others:
        return now
    total, weight = _colours(now.pixels).astype(np.float32), np.float32(1)
    white = np.float32(white_of(now.pixels))
    level = white / np.float32(255)
    middle = total.copy()
    for other in others:
        if now.kept or other.kept or not _same_scene(now.blurry, other.blurry):
            continue
        flow = flow_of(_grey(now.blurry), _grey(other.blurry))
        difference = pull(_colours(other.blurry), flow).astype(np.float32) - _colours(now.blurry)
        mismatch = np.abs(difference).max(axis=2) / level
        mismatch = np.asarray(cv2.blur(mismatch, (WINDOW_PX, WINDOW_PX)), np.float32)
        factor = np.float32(strength) * np.exp(-np.square(mismatch / np.float32(MATCH)))[..., None]
        moved = pull(_colours(other.pixels), flow, cv2.INTER_CUBIC).astype(np.float32)
        moved = np.clip(moved, 0, white)  # floats overshoot
        total += factor * (middle + np.clip(moved - middle, -LARGEST_STEP * level, LARGEST_STEP * level))
        weight = weight + factor
    if np.ndim(weight) == 0:
        return now
    pixels, mean = now.pixels.copy(), total / weight
    _colours(pixels)[...] = mean if mean.dtype == pixels.dtype else np.rint(mean)
    return replace(now, pixels=pixels)


def _same_scene(now: NDArray[Any], other: NDArray[Any]) -> bool:
    if now.shape != other.shape or now.dtype != other.dtype:
        return False
    return min(now.shape[:2]) >= LEAST_FLOW_PX and not is_cut(_bytes(now), _bytes(other))


def _grey(pixels: NDArray[Any]) -> Frame:
    return np.asarray(cv2.cvtColor(_bytes(pixels), cv2.COLOR_RGB2GRAY), np.uint8)


def _bytes(pixels: NDArray[Any]) -> Frame:
    """Return the colours as RGB uint8; grey is repeated, and alpha is left out."""
    colours = to_depth(np.ascontiguousarray(_colours(pixels)), 8)
    return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)), np.uint8)


def _colours(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return a view of grey or of the three colours, without alpha."""
    return pixels[..., : 1 if pixels.shape[2] <= 2 else 3]
