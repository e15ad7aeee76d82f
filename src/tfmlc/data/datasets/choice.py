"""Choice among the items of a dataset: some that are spread evenly, and those that are large enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from tfmlc.io.images import read_size

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most ``most`` items, spread evenly, with the first and the last.

    >>> evenly("abcdefg", 3)
    ['a', 'd', 'g']
    """
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[int(place)] for place in places]


def split_by_size(
    items: Sequence[Item], least_px: int, file_of: Callable[[Item], Path]
) -> tuple[list[Item], list[Item]]:
    """Split items by whether the shorter side of their image is at least ``least_px``; only file headers are read."""
    fits = [min(read_size(file_of(item))) >= least_px for item in items]
    large, small = ([item for item, fit in zip(items, fits, strict=True) if fit is side] for side in (True, False))
    return large, small
