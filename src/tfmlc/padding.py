"""Bringing images to the sizes that networks and backbones can take."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


def pad_to_multiple(image: Tensor, multiple: int, mode: Literal["reflect", "zeros"]) -> Tensor:
    """Extend ``b c h w`` at the right and bottom to a multiple of ``multiple`` pixels.

    ``"reflect"`` reflects where the image is large enough for it and replicates the border where it is not.

    >>> import torch
    >>> tuple(pad_to_multiple(torch.rand(1, 3, 5, 9), 8, "reflect").shape)
    (1, 3, 8, 16)
    """
    height, width = image.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    if mode == "zeros":
        return nn.functional.pad(image, (0, right, 0, bottom))
    for pads, fits in (((0, right, 0, 0), right < width), ((0, 0, 0, bottom), bottom < height)):
        if any(pads):
            image = nn.functional.pad(image, pads, mode="reflect" if fits else "replicate")
    return image
