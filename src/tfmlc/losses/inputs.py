"""Checks of the images that a loss compares, with a clear error for each mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from tfmlc.errors import OutOfRangeError, UserError

SHARP_TOLERANCE = 0.05
RESTORED_TOLERANCE = 1.5  # during training single pixels are up to 0.75 outside of [0, 1]


def as_stages(restored: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return the stages as a list: one image batch is one stage. Raises UserError if there are none."""
    if isinstance(restored, list | tuple):
        if not restored:
            raise UserError("restored has no stages: give RGB images b 3 h w, or the tuple of a network's stages")
        return list(restored)
    return [cast(Tensor, restored)]


def check_images(restored: Tensor, sharp: Tensor, channels: int | None = None) -> None:
    """Raise UserError unless both are float image batches of the same shape on the same device.

    >>> check_images(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 6))
    Traceback (most recent call last):
    ...
    tfmlc.errors.UserError: restored is (1, 3, 4, 4) and sharp is (1, 3, 4, 6): their shapes must be equal
    """
    wanted = "RGB images b 3 h w" if channels == 3 else "images b c h w"
    for name, images in (("restored", restored), ("sharp", sharp)):
        if not torch.is_tensor(images):
            raise UserError(f"{name} must be a torch tensor, {wanted}; it is a {_type_name(images)}")
        if images.dim() != 4 or channels not in (None, images.shape[1]):
            raise UserError(f"{name} must be {wanted}; it is {tuple(images.shape)}")
        if 0 in images.shape:
            raise UserError(f"{name} is empty: {tuple(images.shape)}")
        if not images.is_floating_point():
            raise UserError(f"{name} is {images.dtype}: give floats in [0, 1], for example {name}.float() / 255")
    if restored.shape != sharp.shape:
        shapes = f"restored is {tuple(restored.shape)} and sharp is {tuple(sharp.shape)}"
        raise UserError(f"{shapes}: their shapes must be equal")
    if restored.device != sharp.device:
        devices = f"restored is on {restored.device} and sharp is on {sharp.device}"
        raise UserError(f"{devices}: they must be on the same device")


def check_rgb(restored: Tensor, sharp: Tensor) -> None:
    """Raise UserError unless both are RGB image batches of the same shape, device and, without autocast, dtype."""
    check_images(restored, sharp, channels=3)
    if restored.dtype != sharp.dtype and not torch.is_autocast_enabled(restored.device.type):
        raise UserError(f"restored is {restored.dtype} and sharp is {sharp.dtype}: their dtypes must be equal")


def check_range(stages: Sequence[Tensor], sharp: Tensor) -> None:
    """Raise UserError if values are not finite or are far outside of [0, 1].

    All values are checked with one synchronisation of the device. ``torch.compile`` skips the check, because it
    would break the graph.
    """
    if torch.compiler.is_compiling():
        return
    named = [*(("restored", stage, RESTORED_TOLERANCE) for stage in stages), ("sharp", sharp, SHARP_TOLERANCE)]
    bounds = torch.stack([torch.stack(torch.aminmax(images.detach())).float() for _, images, _ in named])
    for (name, _, tolerance), (low, high) in zip(named, cast("list[list[float]]", bounds.tolist()), strict=True):
        if not (low > -float("inf") and high < float("inf")):
            raise OutOfRangeError(f"{name} has values that are not finite (NaN or inf)")
        if low < -tolerance or high > 1 + tolerance:
            raise OutOfRangeError(f"{name} must lie in [0, 1]; its values are {low:.3g} to {high:.3g}")


def _type_name(value: object) -> str:
    """Return the name of a value's type, with its package unless it is built in: ``numpy.ndarray``, ``dict``."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    return kind.__qualname__ if package == "builtins" else f"{package}.{kind.__qualname__}"
