"""The base class of all backbones."""

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
    """A frozen feature extractor: takes RGB images and returns the features after one of its blocks.

    A backbone stays in evaluation mode and has no gradients of its own. It takes images of any size: it normalises
    them, pads them to a multiple of ``patch_px`` and interpolates the position embeddings. Blocks after the requested
    one do not run. ``build_backbone`` builds one by name.

    Args:
        tower: The network of timm or torchvision that computes the features.
        blocks: The number of its blocks.
        patch_px: The sides of the images must be multiples of this.
        statistics: Mean and standard deviation of the images it was trained on, per channel.

    Attributes:
        last_block: The last block that is in memory, ``"final"`` if all are.
        info: The backbone's name, and the origin, licence and fingerprint of its weights.

    Example:
        >>> from tfmlc.backbones import build_backbone
        >>> backbone = build_backbone("dinov2-vit-s14", weights=None, last_block=3)
        >>> backbone(torch.rand(2, 3, 28, 28), block=3).shape
        torch.Size([2, 5, 384])
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

    def extra_repr(self) -> str:
        """Show the name, the blocks and the patch size."""
        name = f"name={self.info.name!r}, " if self.info.name else ""
        return f"{name}blocks={self.blocks}, last_block={self.last_block!r}, patch_px={self.patch_px}"

    def explain(self) -> str:
        """Describe the backbone in a few lines: name, blocks, number of weights, origin and licence."""
        weights, *source = self.info.lines(sum(value.numel() for value in self.parameters()))
        lines = [
            f"backbone  {self.info.name or type(self).__name__}, blocks 0 to {self.blocks - 1}",
            weights,
            f"images    RGB in [0, 1], any size; padded to a multiple of {self.patch_px} px inside",
            *source,
        ]
        return "\n".join(lines)

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002
        """Stay in evaluation mode, whatever a parent module asks for."""
        return super().train(False)

    def check_block(self, block: Block) -> None:
        """Raise UserError if the backbone does not have a block, or it was dropped."""
        name = self.info.name or type(self).__name__
        if block != "final" and block not in range(self.blocks):
            raise UserError(f"{name} has no block {block!r}: its blocks are 0 to {self.blocks - 1} and 'final'")
        if self.last_block != "final" and (block == "final" or block > self.last_block):
            raise UserError(f"block {block!r} of {name} was dropped: it has blocks 0 to {self.last_block}")

    def drop_after(self, block: Block) -> None:
        """Remove everything after a block from memory.

        Args:
            block: The last block to keep; ``"final"`` keeps everything.

        Raises:
            UserError: If the backbone does not have the block.
        """
        self.check_block(block)
        if block != "final":
            self._drop_after(block)
            self.last_block = block
            self.train()  # slicing makes a new container, in training mode

    def forward(self, images: Tensor, block: Block, *, normalize: bool = True) -> Tensor:
        """Compute the features after a block.

        Args:
            images: RGB images in [0, 1], ``b 3 h w``, of any size.
            block: The block, counted from zero as in the paper's tables, or ``"final"`` for the final embedding.
            normalize: Whether to subtract the mean of the training images and divide by their standard deviation.

        Returns:
            Tokens ``b n d`` of a transformer, the class token first if it has one, before any final norm. A map
            ``b c h w`` of a convolutional network. For ``"final"`` one vector per image, ``b d``.

        Raises:
            UserError: If the backbone does not have the block.
            ValueError: If the images are not ``b 3 h w``, or are empty.
        """
        if not torch.compiler.is_compiling():
            self.check_block(block)
        if images.dim() != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise ValueError(f"images must be RGB b 3 h w and not empty; their shape is {tuple(images.shape)}")
        if normalize:
            images = (images - self.mean) / self.std
        images = pad_to_multiple(images, self.patch_px, "reflect")
        return self._embedding(images) if block == "final" else self._features(images, block)

    @abstractmethod
    def _features(self, images: Tensor, block: int) -> Tensor:
        """Return the features after ``block``, of normalised images whose sides are multiples of ``patch_px``."""

    @abstractmethod
    def _embedding(self, images: Tensor) -> Tensor:
        """Return the final embedding, ``b d``."""

    @abstractmethod
    def _drop_after(self, block: int) -> None:
        """Remove the blocks after ``block``, and the head."""


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    """Return one float32 value per channel, ``3 1 1``, on the CPU whatever the default device and dtype are."""
    return torch.tensor(values, device="cpu", dtype=torch.float32).view(3, 1, 1)
