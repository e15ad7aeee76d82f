"""The base class of all deblurring networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tfmlc.io.checkpoint import CheckpointInfo
from tfmlc.padding import pad_to_multiple

Count = Annotated[int, Field(ge=1)]  # of channels or blocks; build_network checks it
CountOrZero = Annotated[int, Field(ge=0)]


class Network(nn.Module, ABC):
    """A deblurring network: takes RGB images of any size and returns the tuple of its stages.

    It pads the images to a multiple of ``size_multiple``, runs ``restore`` and crops each stage to the original size.
    ``build_network`` builds one by name and ``load_network`` loads one from a file.

    Args:
        step: The sides that ``restore`` takes are multiples of this.
        floats_per_px: About how many values per pixel a forward pass without gradients keeps in memory at once.
        unshuffle: With 2, blocks of 2x2 pixels become channels, so the network runs at half the resolution.
        head: The channels of a head that corrects the last stage at full resolution; 0 for no head.

    Attributes:
        size_multiple: The sides of the padded image are multiples of this.
        bytes_per_px: About how much memory a forward pass needs per pixel of the image.
        info: The network's name and sizes, and the origin, licence and fingerprint of its weights.

    Example:
        >>> import torch
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8)
        >>> stages = network(torch.rand(1, 3, 50, 70))
        >>> len(stages), stages[-1].shape
        (2, torch.Size([1, 3, 50, 70]))
    """

    padding: Literal["reflect", "zeros"] = "reflect"

    def __init__(self, *, step: int, floats_per_px: float, unshuffle: int = 1, head: int = 0) -> None:
        super().__init__()
        self.bytes_per_px = 4 * (floats_per_px / unshuffle**2 + 3 * head)
        self.info = CheckpointInfo()
        self.unshuffle = unshuffle
        self.size_multiple = step * unshuffle
        self.image_channels = 3 * unshuffle**2
        if head:
            self.head = Head(head)

    def extra_repr(self) -> str:
        """Show the name and sizes, if they are known, and the size multiple."""
        sizes = {**self.info.hyperparameters, "size_multiple": self.size_multiple}
        name = f"name={self.info.name!r}, " if self.info.name else ""
        return name + ", ".join(f"{key}={value!r}" for key, value in sizes.items())

    def explain(self) -> str:
        """Describe the network in a few lines: name, sizes, number of weights, origin and licence."""
        info, sizes = self.info, ", ".join(f"{key}={value}" for key, value in self.info.hyperparameters.items())
        weights, *source = info.lines(count_parameters(self))
        lines = [
            f"network   {info.name or type(self).__name__}{f' ({sizes})' if sizes else ''}",
            weights,
            f"images    RGB in [0, 1], any size; padded to a multiple of {self.size_multiple} px inside",
            *source,
        ]
        return "\n".join(lines)

    @abstractmethod
    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        """Restore images whose sides are multiples of the network's step."""

    def forward(self, blurry: Tensor) -> tuple[Tensor, ...]:
        """Restore images.

        Args:
            blurry: RGB images in [0, 1], ``b 3 h w``, of any size.

        Returns:
            The stages, first stage first. The last one is the restored image.

        Raises:
            ValueError: If the images are not ``b 3 h w``, or are empty.
        """
        if blurry.dim() != 4 or blurry.shape[1] != 3 or 0 in blurry.shape:
            raise ValueError(f"blurry must be RGB b 3 h w and not empty; its shape is {tuple(blurry.shape)}")
        height, width = blurry.shape[-2:]
        padded = pad_to_multiple(blurry, self.size_multiple, self.padding)
        stages = self.restore(nn.functional.pixel_unshuffle(padded, self.unshuffle) if self.unshuffle > 1 else padded)
        if self.unshuffle > 1:
            stages = tuple(nn.functional.pixel_shuffle(stage, self.unshuffle) for stage in stages)
        if "head" in self._modules:
            stages = (*stages[:-1], self.head(stages[-1], padded))
        return tuple(stage[..., :height, :width] for stage in stages)


class Head(nn.Module):
    """Three 3x3 convolutions at full resolution that correct a restored image by itself and the blurry image.

    In a network with ``unshuffle`` they let the pixels of a block see each other, which avoids a mesh with the period
    of the blocks. A new head changes nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = nn.Conv2d(6, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.conv_3 = nn.Conv2d(width, 3, 3, padding=1)
        for parameter in self.conv_3.parameters():
            nn.init.zeros_(parameter)

    def forward(self, restored: Tensor, blurry: Tensor) -> Tensor:
        features = nn.functional.leaky_relu(self.conv_1(torch.cat([restored, blurry], dim=1) - 0.5), 0.2)
        return restored + self.conv_3(nn.functional.leaky_relu(self.conv_2(features), 0.2))


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights of a network; shared weights count once.

    >>> import torch
    >>> count_parameters(torch.nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in network.parameters())


__all__ = ["Network", "count_parameters"]
