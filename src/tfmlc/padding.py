"""Padding of images to sizes that networks and backbones can take."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


def pad_to_multiple(image: Tensor, multiple: int, mode: Literal["reflect", "zeros"]) -> Tensor:
    """Pad images at the right and the bottom so that their sides are multiples of a number.

    Args:
        image: Images, ``b c h w``.
        multiple: The number, in px.
        mode: ``"zeros"``, or ``"reflect"``, which replicates the border if the image is too small to reflect.

    Returns:
        The padded images.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 3, 5, 9), 8, "reflect").shape
        torch.Size([1, 3, 8, 16])
    """
    height, width = image.shape[-2:]
    right, bottom = -width % multiple, -height % multiple
    if mode == "zeros":
        return nn.functional.pad(image, (0, right, 0, bottom))
    for pads, fits in (((0, right, 0, 0), right < width), ((0, 0, 0, bottom), bottom < height)):
        if any(pads):
            image = nn.functional.pad(image, pads, mode="reflect" if fits else "replicate")
    return image
