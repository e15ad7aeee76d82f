"""A check of results: at low resolution a restored image must equal the blurry image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

LEAST_PSNR_DB = 20.0
SPARSE = 8  # every 8th pixel of every 8th row is used
CELL_PX = 32  # side of the cells over which pixels are averaged


class Thumbnail:
    """Collects every 8th pixel of a restored image from its bands."""

    def __init__(self) -> None:
        self.bands: list[Tensor] = []

    def add(self, start: int, band: Tensor) -> None:
        """Add the pixels of a band ``3 h w`` that begins at row ``start`` of the image."""
        self.bands.append(band[:, -start % SPARSE :: SPARSE, ::SPARSE].clamp(0, 1))

    def differs_from(self, blurry: Tensor) -> bool:
        """Whether the restored image differs from the blurry image at low resolution.

        ``blurry`` has every 8th pixel of the blurry image, ``c h w``.
        """
        restored = torch.cat(self.bands, dim=1)
        height, width = (max(1, side * SPARSE // CELL_PX) for side in restored.shape[1:])
        after, before = (adaptive_avg_pool2d(image.cpu(), (height, width)) for image in (restored, blurry))
        return float((after - before).square().mean()) > 10 ** (-LEAST_PSNR_DB / 10)
