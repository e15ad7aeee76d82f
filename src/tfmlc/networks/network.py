"""What every deblurring network here has in common: it takes any image size and answers with its stages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor, nn

from tfmlc.io.checkpoint import CheckpointInfo
from tfmlc.padding import pad_to_multiple


class Network(nn.Module, ABC):
    """A deblurring network: RGB in [0, 1], ``b c h w``, any size, to a tuple of images, first stage first.

    Pads the blurry image to a multiple of ``size_multiple``, runs ``restore`` and crops every stage back. Where the
    official weights are for one resolution, ``unshuffle`` folds blocks of pixels into channels, so the
    same network works on a coarser grid. ``floats_per_px`` is about how many numbers a forward pass without
    gradients keeps at once for every pixel of its grid; ``bytes_per_px`` is what follows for the image.
    """

    padding: Literal["reflect", "zeros"] = "reflect"

    def __init__(self, *, step: int, floats_per_px: float, unshuffle: int = 1) -> None:
        super().__init__()
        self.bytes_per_px = 4 * floats_per_px / unshuffle**2
        self.info = CheckpointInfo()
        self.unshuffle = unshuffle
        self.size_multiple = step * unshuffle
        self.image_channels = 3 * unshuffle**2

    def explain(self) -> str:
        """What this network is: name, sizes, number of weights, step, origin and licence."""
        info, sizes = self.info, ", ".join(f"{key}={value}" for key, value in self.info.hyperparameters.items())
        lines = [
            f"network   {info.name or type(self).__name__} ({sizes})",
            f"weights   {count_parameters(self) / 1e6:.2f} million, sha256 {info.sha256 or 'not recorded'}",
            f"images    RGB in [0, 1], any size; padded to a multiple of {self.size_multiple} px inside",
            f"origin    {info.origin or 'not recorded'}",
            f"licence   {info.licence or 'not recorded'}",
        ]
        return "\n".join(lines)

    @abstractmethod
    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        """Restore an image whose sides are multiples of the network's step."""

    def forward(self, blurry: Tensor) -> tuple[Tensor, ...]:
        if blurry.dim() != 4 or blurry.shape[1] != 3 or 0 in blurry.shape:
            raise ValueError(f"a network takes RGB images b 3 h w, none empty; this one is {tuple(blurry.shape)}")
        height, width = blurry.shape[-2:]
        padded = pad_to_multiple(blurry, self.size_multiple, self.padding)
        if self.unshuffle > 1:
            padded = nn.functional.pixel_unshuffle(padded, self.unshuffle)
        stages = self.restore(padded)
        if self.unshuffle > 1:
            stages = tuple(nn.functional.pixel_shuffle(stage, self.unshuffle) for stage in stages)
        return tuple(stage[..., :height, :width] for stage in stages)


def count_parameters(network: nn.Module) -> int:
    """Number of weights of a network, shared ones counted once.

    >>> import torch
    >>> count_parameters(torch.nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in network.parameters())


__all__ = ["Network", "count_parameters"]
