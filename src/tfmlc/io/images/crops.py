"""Where the crops of an image start."""

from __future__ import annotations


def crop_starts(size_px: int, crop_px: int, stride_px: int) -> list[int]:
    """Return the positions at which crops start along one side of an image.

    >>> crop_starts(720, 512, 256), crop_starts(1280, 512, 256)
    ([0, 208], [0, 256, 512, 768])
    """
    last = size_px - crop_px
    starts = list(range(0, last + 1, stride_px))
    return starts if starts[-1] == last else [*starts, last]
