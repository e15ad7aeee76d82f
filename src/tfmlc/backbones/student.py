"""A small convolutional backbone that imitates the features of a large one and has no grid of patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfmlc.backbones.backbone import Backbone, ImageStatistics

WIDTHS = (24, 48, 128)
RESIDUALS = (1, 2, 3)  # of each stage
SMALL = 0.1


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            self.conv_2.weight.mul_(SMALL)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv_2(nn.functional.silu(self.conv_1(nn.functional.silu(features))))


class Student(Backbone):
    """Three stages at a half, a quarter and an eighth of the resolution, then a 1x1 convolution to the features.

    Blocks 0 to 2 are the stages, block 3 are the imitated features. Each stage begins with a 4x4 convolution of stride
    2, in which every pixel takes part equally often, so that the gradient has no pattern.

    Args:
        features: The number of features that are imitated.
        statistics: As in ``Backbone``.
    """

    tower: nn.Sequential

    def __init__(self, features: int, statistics: ImageStatistics) -> None:
        stages: list[nn.Module] = []
        previous = 3
        for width, residuals in zip(WIDTHS, RESIDUALS, strict=True):
            down = nn.Conv2d(previous, width, 4, stride=2, padding=1)
            stages.append(nn.Sequential(down, *(Residual(width) for _ in range(residuals))))
            previous = width
        stages.append(nn.Sequential(nn.SiLU(), nn.Conv2d(previous, features, 1)))
        super().__init__(nn.Sequential(*stages), blocks=len(stages), patch_px=8, statistics=statistics)

    def _features(self, images: Tensor, block: int) -> Tensor:
        return self.tower[: block + 1](images)

    def _embedding(self, images: Tensor) -> Tensor:
        return self.tower(images).mean(dim=(2, 3))

    def _drop_after(self, block: int) -> None:
        self.tower = self.tower[: block + 1]
