"""Objectives for finetuning deblurring networks: a pixel loss and a weighted feature loss (ICIP 2023, section 3.2)."""

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
    """``pixels + weight * feature_loss``, both summed over the stages of a network.

    ``objective(stages, sharp, feature_loss, weight)`` takes images ``b c h w`` in [0, 1] and returns a scalar.
    ``hinet_objective`` and ``mprnet_objective`` are those of the paper (ICIP 2023, section 3.2).

    Args:
        pixels: The pixel loss of the stages.
        weight: The paper's weight of the feature loss, used where none is given.

    Example:
        >>> grey = torch.full((1, 3, 8, 8), 0.1)
        >>> round(float(hinet_objective([grey, grey], torch.zeros(1, 3, 8, 8))), 2)
        -20.0
        >>> round(float(mprnet_objective([grey], grey, lambda stages, sharp: torch.tensor(2.0), 3.0)), 5)
        6.00105
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
        return self.total(self.parts(stages, sharp, feature_loss), weight)

    def parts(
        self, stages: Sequence[Tensor], sharp: Tensor, feature_loss: FeatureLoss | None = None
    ) -> dict[str, Tensor]:
        """The pixel loss and, with a feature loss, the feature loss, both without weights."""
        values = {"pixels": self.pixels(stages, sharp)}
        if feature_loss is not None:
            values["features"] = feature_loss(stages, sharp)
        return values

    def total(self, parts: Mapping[str, Tensor], weight: float | None = None) -> Tensor:
        """The weighted sum of the parts; without a ``weight``, with the paper's."""
        if "features" not in parts:
            return parts["pixels"]
        return parts["pixels"] + (self.weight if weight is None else weight) * parts["features"]


def negative_half_psnr(stages: Sequence[Tensor], sharp: Tensor) -> Tensor:
    """Half of minus the PSNR, summed over the stages: the pixel loss of HINet."""
    return 0.5 * torch.stack([psnr_loss(stage, sharp) for stage in stages]).sum()


def charbonnier_and_edge(stages: Sequence[Tensor], sharp: Tensor) -> Tensor:
    """Charbonnier error and 0.05 times the edge error, summed over the stages: the pixel loss of MPRNet."""
    return torch.stack([charbonnier(stage, sharp) + EDGE_WEIGHT * edge(stage, sharp) for stage in stages]).sum()


hinet_objective = DeblurringObjective(negative_half_psnr, weight=1000.0)
mprnet_objective = DeblurringObjective(charbonnier_and_edge, weight=1.0)

OBJECTIVES: dict[str, DeblurringObjective] = {  # by family of the network
    "hinet": hinet_objective,
    "mprnet": mprnet_objective,
    "nafnet": hinet_objective,
    "spectral-unet": hinet_objective,
}
