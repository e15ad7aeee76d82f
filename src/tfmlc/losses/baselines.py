"""Perceptual losses to compare with, from the pyiqa package (extra ``metrics``): LPIPS and DISTS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from tfmlc.backbones.pyiqa import pyiqa_metric
from tfmlc.errors import UserError, unknown_name
from tfmlc.losses.inputs import as_stages, check_range, check_rgb

Baseline = Literal["LPIPS-alex", "LPIPS-vgg", "DISTS"]
BASELINES: dict[Baseline, str] = {"LPIPS-alex": "lpips", "LPIPS-vgg": "lpips-vgg", "DISTS": "dists"}


class BaselineLoss(nn.Module):
    """LPIPS or DISTS as a loss, called as ``FeatureMatchingLoss`` is.

    Args:
        name: ``"LPIPS-alex"``, ``"LPIPS-vgg"`` or ``"DISTS"``.
        reduction: ``"mean"`` gives a scalar, ``"none"`` one value per image.

    Raises:
        UserError: If the name is unknown, pyiqa is not installed, or its weights cannot be downloaded. When called:
            if the images cannot be compared.

    References:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018 (LPIPS).
        Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2022 (DISTS).

    Example:
        >>> list(BASELINES)
        ['LPIPS-alex', 'LPIPS-vgg', 'DISTS']
    """

    def __init__(self, name: Baseline, reduction: Literal["mean", "none"] = "mean") -> None:
        super().__init__()
        if name not in BASELINES:
            raise unknown_name("baseline loss", name, BASELINES)
        try:
            metric = pyiqa_metric(BASELINES[name], as_loss=True, loss_reduction="none")
        except Exception as error:  # pyiqa is missing, or a download fails in one of many ways
            raise UserError(f"{name} is not available: {str(error).splitlines()[0]}") from error
        self.metric = metric.requires_grad_(False)
        self.name, self.reduction = name, reduction

    def extra_repr(self) -> str:
        """Show the name and the reduction."""
        return f"name={self.name!r}, reduction={self.reduction!r}"

    def train(self, mode: bool = True) -> Self:
        """Keep the metric in evaluation mode: LPIPS has dropout."""
        super().train(mode)
        self.metric.eval()
        return self

    def forward(self, restored: Tensor | Sequence[Tensor], sharp: Tensor) -> Tensor:
        """Compute the loss of RGB images in [0, 1], ``b 3 h w``; the losses of several stages are summed."""
        stages = as_stages(restored)
        for stage in stages:
            check_rgb(stage, sharp)
        check_range(stages, sharp)
        errors = torch.stack([self.metric(stage, sharp).reshape(-1) for stage in stages]).sum(dim=0)
        return errors.mean() if self.reduction == "mean" else errors
