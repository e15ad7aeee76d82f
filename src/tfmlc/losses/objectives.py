"""What the paper minimises when it finetunes HINet and MPRNet (ICIP 2023, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tfmlc.losses.pixel import charbonnier, edge, psnr_loss

FeatureLoss = Callable[[Sequence[Tensor], Tensor], Tensor]
EDGE_WEIGHT = 0.05
HINET_WEIGHT, MPRNET_WEIGHT = 1000.0, 1.0


def hinet_objective(
    stages: Sequence[Tensor], sharp: Tensor, feature_loss: FeatureLoss | None = None, weight: float = HINET_WEIGHT
) -> Tensor:
    """Half of minus the PSNR, summed over the stages, and ``weight`` times the feature loss.

    Images are ``b c h w`` in [0, 1]; the answer is a scalar.

    >>> import torch
    >>> grey = torch.full((1, 3, 8, 8), 0.1)
    >>> round(float(hinet_objective([grey, grey], torch.zeros(1, 3, 8, 8))), 2)
    -20.0
    """
    pixels = 0.5 * torch.stack([psnr_loss(stage, sharp) for stage in stages]).sum()
    return pixels if feature_loss is None else pixels + weight * feature_loss(stages, sharp)


def mprnet_objective(
    stages: Sequence[Tensor], sharp: Tensor, feature_loss: FeatureLoss | None = None, weight: float = MPRNET_WEIGHT
) -> Tensor:
    """Charbonnier and 0.05 edge error, summed over the stages, and ``weight`` times the feature loss.

    Images are ``b c h w`` in [0, 1]; the answer is a scalar.

    >>> import torch
    >>> grey = torch.full((1, 3, 8, 8), 0.5)
    >>> round(float(mprnet_objective([grey], grey)), 5)
    0.00105
    """
    pixels = torch.stack([charbonnier(stage, sharp) + EDGE_WEIGHT * edge(stage, sharp) for stage in stages]).sum()
    return pixels if feature_loss is None else pixels + weight * feature_loss(stages, sharp)
