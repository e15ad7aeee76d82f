"""What every backbone has in common: frozen, images in, the features of one block out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo
from tfmlc.padding import pad_to_multiple

Block = int | Literal["final"]
ImageStatistics = tuple[tuple[float, float, float], tuple[float, float, float]]


class Backbone(nn.Module, ABC):
    """A frozen image tower: RGB in [0, 1], ``b 3 h w``, to the features after one of its blocks.

    Blocks count from zero, as in the paper's tables; ``"final"`` is the tower's final embedding, ``b d``. A
    transformer answers with all tokens ``b n d``, class token first where it has one, before any final norm; a
    convolutional tower with a map ``b c h w``. The image's mean and standard std are taken off inside. Any
    size is taken: it is padded to a multiple of ``patch_px``, and position embeddings are interpolated. Always
    in evaluation mode; blocks after the asked one do not run.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tower: nn.Module, *, blocks: int, patch_px: int, statistics: ImageStatistics) -> None:
        super().__init__()
        self.tower, self.blocks, self.patch_px = tower, blocks, patch_px
        self.last_block: Block = "final"
        self.info = CheckpointInfo()
        mean, std = statistics
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002
        """Stay in evaluation mode, whatever a parent module does."""
        return super().train(False)

    def check_block(self, block: Block) -> None:
        """Raise UserError, naming the range, for a block that the tower does not have or that was dropped."""
        name = self.info.name or type(self).__name__
        if block != "final" and block not in range(self.blocks):
            raise UserError(f"{name} has no block {block!r}: its blocks are 0 to {self.blocks - 1}, and 'final'")
        if self.last_block != "final" and (block == "final" or block > self.last_block):
            raise UserError(f"block {block!r} of {name} was dropped: blocks up to {self.last_block} are left")

    def drop_after(self, block: Block) -> None:
        """Free the memory of everything after ``block``."""
        self.check_block(block)
        if block != "final":
            self._drop_after(block)
            self.last_block = block
            self.train()  # a shorter container is a new one

    def forward(self, images: Tensor, block: Block, *, normalize: bool = True) -> Tensor:
        if not torch.compiler.is_compiling():
            self.check_block(block)
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise ValueError(f"a backbone takes RGB images b 3 h w, none empty; these are {tuple(images.shape)}")
        if normalize:
            images = (images - self.mean) / self.std
        images = pad_to_multiple(images, self.patch_px, "reflect")
        return self._embedding(images) if block == "final" else self._features(images, block)

    @abstractmethod
    def _features(self, images: Tensor, block: int) -> Tensor:
        """Features after ``block`` of normalised images whose sides are multiples of ``patch_px``."""

    @abstractmethod
    def _embedding(self, images: Tensor) -> Tensor:
        """The tower's final embedding, ``b d``."""

    @abstractmethod
    def _drop_after(self, block: int) -> None:
        """Remove the blocks after ``block`` and the head."""


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    """One float32 value a channel, ``3 1 1``, whatever the default device and dtype are."""
    return torch.tensor(values, device="cpu", dtype=torch.float32).view(3, 1, 1)
