"""A guard against unreliable results: does a restored image, shrunk, still look like the blurry one?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

LEAST_PSNR_DB = 20.0
SPARSE = 8  # one pixel in so many of each row and column is looked at
CELL_PX = 32  # over which pixels are averaged


class Thumbnail:
    """Every 8th pixel of a restored image, collected from its bands."""

    def __init__(self) -> None:
        self.bands: list[Tensor] = []

    def add(self, start: int, band: Tensor) -> None:
        """Add a band ``3 h w`` that begins at row ``start`` of the image."""
        self.bands.append(band[:, -start % SPARSE :: SPARSE, ::SPARSE].clamp(0, 1))

    def differs_from(self, blurry: Tensor) -> bool:
        """Whether the restored image differs from the blurry one, ``c h w`` and as sparse, when both are shrunk."""
        restored = torch.cat(self.bands, dim=1)
        height, width = (max(1, side * SPARSE // CELL_PX) for side in restored.shape[1:])
        after, before = (adaptive_avg_pool2d(image.cpu(), (height, width)) for image in (restored, blurry))
        return float((after - before).square().mean()) > 10 ** (-LEAST_PSNR_DB / 10)
