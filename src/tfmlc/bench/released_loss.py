"""The procedure of the losses that the authors released, written from its description, for comparison.

It processes every stage and every sample separately. All twelve blocks run, although only block 3 is used. The sharp
image passes through the trunk and the adapter once per stage, and gradients are recorded for it. In TFMLC the trunk is
frozen and the adapter's weights get gradients; in FMLC the trunk's weights get them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tfmlc.losses import Adapter


class ReleasedLoss(nn.Module):
    """The released loss. ``loss(stages, sharp)`` takes images ``b 3 h w`` in [0, 1] and returns a scalar.

    Args:
        block: The block whose features are compared.
        adapter: The adapter of TFMLC, or None for FMLC.
        looped: Whether samples are processed one by one, as in the released code. False processes the batch at once,
            which is faster.
    """

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
