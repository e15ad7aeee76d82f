"""One pass of a network over a tile of an image."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.networks import Network
from tfmlc.runtime.device import autocast


class NotFiniteError(UserError):
    """A network returned values that are not finite."""


@torch.inference_mode()
def run_network(network: Network, blurry: Tensor, device: torch.device, precision: Literal["fp32", "bf16"]) -> Tensor:
    """Run a network on one tile; in fp32 if a lower precision gives values that are not finite.

    Tiles that are one cell wide inside the network also run in fp32, because PyTorch's bf16 convolutions of them are
    wrong on a CPU.

    Args:
        network: The network. It runs in evaluation mode and returns to its mode.
        blurry: The tile, ``1 3 h w`` in [0, 1].
        device: The device of the network.
        precision: The precision.

    Returns:
        The restored tile, float32 on the CPU.

    Raises:
        NotFiniteError: If the network returns values that are not finite.

    Example:
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8, depth=3, normalised_levels=(1, 2))
        >>> run_network(network, torch.rand(1, 3, 16, 16), torch.device("cpu"), "fp32").shape
        torch.Size([1, 3, 16, 16])
    """
    narrow = blurry.shape[-1] <= network.size_multiple
    dtype = next((value.dtype for value in network.parameters()), torch.float32)
    blurry = blurry.to(device, dtype, memory_format=torch.channels_last)
    for tried in ("fp32",) if narrow else (precision, "fp32"):
        with _evaluating(network), autocast(device, tried):
            restored = network(blurry)[-1].float()
        if bool(torch.isfinite(restored).all()):
            return restored.cpu()
    raise NotFiniteError(
        "the network returns values that are not finite: its weights are damaged or do not fit this image"
    )


@contextmanager
def _evaluating(network: Network) -> Generator[None]:
    """Set evaluation mode for one pass, then restore the mode."""
    training = network.training
    if training:
        network.eval()
    try:
        yield
    finally:
        if training:
            network.train()
