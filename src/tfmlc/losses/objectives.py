"""Objectives for training deblurring networks: a pixel loss and a weighted feature loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tfmlc.losses.pixel import charbonnier, edge, psnr_loss

FeatureLoss = Callable[[Sequence[Tensor], Tensor], Tensor]
EDGE_WEIGHT = 0.05


@dataclass(frozen=True)
class DeblurringObjective:
    """The sum ``pixels + weight * feature_loss`` over the stages of a network.

    ``hinet_objective`` and ``mprnet_objective`` are the objectives of the paper.

    Args:
        pixels: The pixel loss. It takes the stages and the sharp image.
        weight: The weight of the feature loss in the paper.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, section 3.2.

    Example:
        >>> grey, black = torch.full((1, 3, 8, 8), 0.1), torch.zeros(1, 3, 8, 8)
        >>> hinet_objective([grey, grey], black)
        tensor(-20.0000)
        >>> hinet_objective([grey, grey], black, feature_loss=lambda stages, sharp: torch.tensor(0.01))
        tensor(-10.0000)
    """

    pixels: Callable[[Sequence[Tensor], Tensor], Tensor]
    weight: float

    def __call__(
        self,
        stages: Sequence[Tensor],
        sharp: Tensor,
        feature_loss: FeatureLoss | None = None,
        weight: float | None = None,
    ) -> Tensor:
        """Compute the objective.

        Args:
            stages: The network's stages, each ``b c h w`` in [0, 1].
            sharp: The sharp images, ``b c h w``.
            feature_loss: The feature loss, for example a ``FeatureMatchingLoss``. None leaves it out.
            weight: The weight of the feature loss. None takes that of the paper.

        Returns:
            A scalar.
        """
        return self.total(self.parts(stages, sharp, feature_loss), weight)

    def parts(
        self, stages: Sequence[Tensor], sharp: Tensor, feature_loss: FeatureLoss | None = None
    ) -> dict[str, Tensor]:
        """Return the pixel loss (``"pixels"``) and the feature loss (``"features"``), both without weights."""
        values = {"pixels": self.pixels(stages, sharp)}
        if feature_loss is not None:
            values["features"] = feature_loss(stages, sharp)
        return values

    def total(self, parts: Mapping[str, Tensor], weight: float | None = None) -> Tensor:
        """Return the weighted sum of the parts; without a ``weight`` that of the paper is used."""
        if "features" not in parts:
            return parts["pixels"]
        return parts["pixels"] + (self.weight if weight is None else weight) * parts["features"]


def negative_half_psnr(stages: Sequence[Tensor], sharp: Tensor) -> Tensor:
    """Return half the ``psnr_loss``, summed over the stages: the pixel loss of HINet."""
    return 0.5 * torch.stack([psnr_loss(stage, sharp) for stage in stages]).sum()


def charbonnier_and_edge(stages: Sequence[Tensor], sharp: Tensor) -> Tensor:
    """Return ``charbonnier`` plus 0.05 times ``edge``, summed over the stages: the pixel loss of MPRNet."""
    return torch.stack([charbonnier(stage, sharp) + EDGE_WEIGHT * edge(stage, sharp) for stage in stages]).sum()


hinet_objective = DeblurringObjective(negative_half_psnr, weight=1000.0)
mprnet_objective = DeblurringObjective(charbonnier_and_edge, weight=1.0)

OBJECTIVES: dict[str, DeblurringObjective] = {
    "hinet": hinet_objective,
    "mprnet": mprnet_objective,
    "nafnet": hinet_objective,
    "spectral-unet": hinet_objective,
}
"""The objectives, by the family of the network."""
