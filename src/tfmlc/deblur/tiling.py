"""Cutting an image into overlapping tiles whose cosine weights sum to one everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """One tile's extent along one axis, and its weight at every pixel of it."""

    start: int
    stop: int
    weights: Tensor


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image and its two axes' weights."""

    rows: Span
    columns: Span

    @property
    def area(self) -> tuple[slice, slice]:
        """Where in the image the tile lies: rows and columns."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def weights(self) -> Tensor:
        """Weight of every pixel, ``h w``."""
        return self.rows.weights[:, None] * self.columns.weights[None, :]


def spans(length: int, tile_px: int, overlap_px: int, size_multiple: int) -> list[Span]:
    """Cover ``length`` pixels by tiles of ``tile_px`` that start on multiples of ``size_multiple``.

    Neighbours share at least ``overlap_px`` pixels (fewer where tiles are no longer than a step), in the middle of
    which one's weight falls as the other's rises, along half a cosine ``overlap_px`` long. The weights sum to one.

    >>> [(span.start, span.stop) for span in spans(100, 48, 8, 8)]
    [(0, 48), (24, 72), (56, 100)]
    """
    if length <= tile_px:
        return [Span(0, length, torch.ones(length, dtype=torch.float32, device="cpu"))]
    stride = max(1, (tile_px - overlap_px) // size_multiple)  # this and the next two in steps
    last = -(-(length - tile_px) // size_multiple)
    gaps = -(-last // stride)
    starts = [last * index // gaps * size_multiple for index in range(gaps + 1)]
    overlap_px = min(overlap_px, tile_px - stride * size_multiple)
    stops = [min(start + tile_px, length) for start in starts]
    seams = [(stop + start) / 2 for start, stop in zip(starts[1:], stops[:-1], strict=True)]
    position = np.arange(length, dtype=np.float64) + 0.5
    ramps = [_ramp(position, seam, overlap_px) for seam in seams]
    rising = [np.ones(length), *ramps]
    falling = [*(1 - ramp for ramp in ramps), np.ones(length)]
    return [
        Span(start, stop, torch.from_numpy((up * down)[start:stop]).float())
        for start, stop, up, down in zip(starts, stops, rising, falling, strict=True)
    ]


def _ramp(position: NDArray[np.float64], centre: float, width: float) -> NDArray[np.float64]:
    """Half a cosine from 0 to 1 around ``centre``; a step where the width is zero."""
    across = np.clip((position - centre) / max(width, 1e-9) + 0.5, 0, 1)
    return (1 - np.cos(np.pi * across)) / 2
