"""The procedure of the authors' released losses, written anew from its description, to measure ours against.

Every stage and every sample by itself: all twelve blocks run though block 3 is used, and the sharp image goes through
trunk and adapter once a stage, inside the graph. In the TFMLC form the trunk is frozen and the adapter's weights
collect gradients, in the FMLC form the trunk's do. ``looped=False`` takes the samples of a batch at once, which is
kinder than the released code is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tfmlc.losses import Adapter


class ReleasedLoss(nn.Module):
    """The released loss; ``loss(stages, sharp)`` takes ``b 3 h w`` in [0, 1] and gives a scalar."""

    def __init__(self, block: int = 3, adapter: Adapter | None = None, *, looped: bool = True) -> None:
        super().__init__()
        self.looped = looped
        trunk: Any = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=512).eval()
        self.trunk: nn.Module = trunk
        self.trunk.requires_grad_(adapter is None)
        self.adapter = adapter
        self.tokens = torch.empty(0)
        trunk.blocks[block].register_forward_hook(self.keep)

    def extra_repr(self) -> str:
        """Show whether the samples are processed one by one."""
        return f"looped={self.looped}"

    def keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002
        self.tokens = output

    def features(self, image: Tensor) -> Tensor:
        self.trunk(nn.functional.interpolate(image, size=(224, 224), mode="bicubic"))
        return self.tokens if self.adapter is None else self.adapter(self.tokens)

    def forward(self, stages: Sequence[Tensor], sharp: Tensor) -> Tensor:
        count = len(sharp) if self.looped else 1
        errors = [
            nn.functional.mse_loss(self.features(restored), self.features(wanted)) / count
            for stage in stages
            for restored, wanted in zip(stage.chunk(count), sharp.chunk(count), strict=True)
        ]
        return torch.stack(errors).sum()
