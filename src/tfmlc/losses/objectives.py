"""The whole objectives that the paper uses to finetune HINet and MPRNet."""

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
    """Return half the ``psnr_loss``, summed over the stages, plus the weighted feature loss.

    Args:
        stages: The network's stages, each ``b c h w`` in [0, 1].
        sharp: The sharp images, ``b c h w``.
        feature_loss: The feature loss, for example a ``FeatureMatchingLoss``. None leaves it out.
        weight: The weight of the feature loss.

    Returns:
        A scalar.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, section 3.2.

    Example:
        >>> import torch
        >>> grey = torch.full((1, 3, 8, 8), 0.1)
        >>> hinet_objective([grey, grey], torch.zeros(1, 3, 8, 8))
        tensor(-20.0000)
    """
    pixels = 0.5 * torch.stack([psnr_loss(stage, sharp) for stage in stages]).sum()
    return pixels if feature_loss is None else pixels + weight * feature_loss(stages, sharp)


def mprnet_objective(
    stages: Sequence[Tensor], sharp: Tensor, feature_loss: FeatureLoss | None = None, weight: float = MPRNET_WEIGHT
) -> Tensor:
    """Return ``charbonnier`` plus 0.05 times ``edge``, summed over the stages, plus the weighted feature loss.

    Args:
        stages: The network's stages, each ``b c h w`` in [0, 1].
        sharp: The sharp images, ``b c h w``.
        feature_loss: The feature loss, for example a ``FeatureMatchingLoss``. None leaves it out.
        weight: The weight of the feature loss.

    Returns:
        A scalar.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, section 3.2.

    Example:
        >>> import torch
        >>> grey = torch.full((1, 3, 8, 8), 0.5)
        >>> mprnet_objective([grey], grey)
        tensor(0.0011)
    """
    pixels = torch.stack([charbonnier(stage, sharp) + EDGE_WEIGHT * edge(stage, sharp) for stage in stages]).sum()
    return pixels if feature_loss is None else pixels + weight * feature_loss(stages, sharp)
