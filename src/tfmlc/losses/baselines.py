"""The perceptual losses others use, by pyiqa (extra ``metrics``): LPIPS and DISTS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones.pyiqa import pyiqa_metric
from tfmlc.errors import UserError
from tfmlc.losses.inputs import as_stages, check_rgb

Baseline = Literal["LPIPS-alex", "LPIPS-vgg", "DISTS"]
BASELINES: dict[Baseline, str] = {"LPIPS-alex": "lpips", "LPIPS-vgg": "lpips-vgg", "DISTS": "dists"}


class BaselineLoss(nn.Module):
    """LPIPS (Zhang et al., CVPR 2018) or DISTS (Ding et al., TPAMI 2022) as a loss.

    ``loss(restored, sharp)`` takes RGB in [0, 1], ``b 3 h w``, ``restored`` also as the tuple of a network's stages,
    whose losses are summed. ``reduction="none"`` gives one value an image. Raises UserError where pyiqa or its weights
    cannot be had, and for images that cannot be compared.
    """

    def __init__(self, name: Baseline, reduction: Literal["mean", "none"] = "mean") -> None:
        super().__init__()
        try:
            metric = pyiqa_metric(BASELINES[name], as_loss=True, loss_reduction="none")
        except Exception as error:  # not installed, or whatever a failed download raises
            raise UserError(f"{name} is not available: {str(error).splitlines()[0]}") from error
        self.metric = cast(nn.Module, metric).requires_grad_(False)
        self.reduction = reduction

    def forward(self, restored: Tensor | Sequence[Tensor], sharp: Tensor) -> Tensor:
        stages = as_stages(restored)
        for stage in stages:
            check_rgb(stage, sharp)
        errors = torch.stack([cast(Tensor, self.metric(stage, sharp)).reshape(-1) for stage in stages]).sum(dim=0)
        return errors.mean() if self.reduction == "mean" else errors
