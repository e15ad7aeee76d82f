"""Division of an image into overlapping tiles, with weights that sum to one at each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfmlc.runtime.memory import free_bytes

LARGEST_TILE_PX = 1024
MOST_TILE_BYTES = 2 << 30  # larger tiles overlap hardly less; a 50-megapixel photo must fit into 4 GB


@dataclass(frozen=True)
class Span:
    """A tile along one axis: where it starts and stops, and its weight at each pixel."""

    start: int
    stop: int
    weights: Tensor


@dataclass(frozen=True)
class Tile:
    """A rectangle of the image: its rows and columns, with their weights."""

    rows: Span
    columns: Span

    @property
    def area(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the tile covers."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def weights(self) -> Tensor:
        """The weight of each pixel, ``h w``."""
        return self.rows.weights[:, None] * self.columns.weights[None, :]


def spans(length: int, tile_px: int, overlap_px: int, size_multiple: int) -> list[Span]:
    """Cover a line of pixels by tiles that start at multiples of ``size_multiple``.

    There are as few tiles as possible, and they are as short as that number allows, so that little is processed twice.
    Neighbours overlap by at least ``overlap_px`` pixels, or less if a tile is not longer than a step. In the middle
    of the overlap the weights change along half a cosine of length ``overlap_px``. They sum to one at each pixel.

    Args:
        length: The number of pixels.
        tile_px: The largest length of a tile.
        overlap_px: The overlap of neighbours.
        size_multiple: The network's size multiple.

    Returns:
        The tiles along this axis, in order.

    Example:
        >>> [(span.start, span.stop) for span in spans(100, 64, 8, 8)]
        [(0, 56), (48, 100)]
    """
    if length <= tile_px:
        return [Span(0, length, torch.ones(length, dtype=torch.float32, device="cpu"))]
    stride = max(1, (tile_px - overlap_px) // size_multiple)  # this and the next four in steps
    whole, overlap = -(-length // size_multiple), -(-overlap_px // size_multiple)
    gaps = -(-(whole - tile_px // size_multiple) // stride)
    stride = min(stride, -(-(whole - overlap) // (gaps + 1)))
    tile_px = min(tile_px, (stride + overlap) * size_multiple)
    last = -(-(length - tile_px) // size_multiple)
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
    """Return half a cosine that rises from 0 to 1 around ``centre``; a step if the width is zero."""
    across = np.clip((position - centre) / max(width, 1e-9) + 0.5, 0, 1)
    return (1 - np.cos(np.pi * across)) / 2


def largest_tile_px(bytes_per_px: float, device: torch.device) -> int:
    """Return the side of the largest square tile that fits into half of the free memory."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # free for PyTorch itself
        budget = (torch.cuda.mem_get_info(device)[0] + cached) / 2
    else:
        budget = min(free_bytes() / 2, MOST_TILE_BYTES)
    return min(int((budget / bytes_per_px) ** 0.5), LARGEST_TILE_PX)
