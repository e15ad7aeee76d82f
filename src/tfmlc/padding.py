"""Padding of images to sizes that networks and backbones can take."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def is_exporting() -> bool:
    """Whether torch exports a graph; PyTorch 2.6 cannot tell that from compiling."""
    ask = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(ask())


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
    return pad_sides(image, right=right, bottom=bottom)


def pad_sides(image: Tensor, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0) -> Tensor:
    """Pad images ``b c h w`` by reflection, or by replication if a side is too small to reflect; pads are in px."""
    if is_exporting():
        return _pad_by_index(_pad_by_index(image, -1, left, right), -2, top, bottom)
    height, width = image.shape[-2:]
    if left or right:
        mode = "reflect" if max(left, right) < width else "replicate"
        image = nn.functional.pad(image, (left, right, 0, 0), mode=mode)
    if top or bottom:
        mode = "reflect" if max(top, bottom) < height else "replicate"
        image = nn.functional.pad(image, (0, 0, top, bottom), mode=mode)
    return image


def _pad_by_index(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Pad one axis as ``pad_sides`` does, without a choice that depends on the size: an exported graph has none."""
    length = image.shape[axis]
    place = torch.arange(-before, length + after, device=image.device)
    clamped = place.clamp(min=0).minimum(torch.full_like(place, length - 1))
    reflected = length - 1 - (length - 1 - place.abs()).abs()
    fits = torch.full_like(place, max(before, after)) < length
    return image.index_select(axis, torch.where(fits, reflected, clamped))
