"""Test-time local converter (TLC, Chu et al., ECCV 2022): statistics over a window instead of the whole image.

HINet's instance normalisation and the channel attention of MPRNet and NAFNet average over the whole input. A network
that was trained on crops sees other averages in full images. Windows a little larger than the crops avoid this.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.networks.network import Network

LARGER = 1.5  # the window, relative to the training crop, as in the paper


class LocalAveragePool(nn.Module):
    """Replaces each value of ``b c h w`` by the mean of a window around it; at borders the window stays inside."""

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__()
        self.window = window

    def extra_repr(self) -> str:
        """Show the window."""
        return f"window={self.window}"

    def forward(self, features: Tensor) -> Tensor:
        return local_mean(features, self.window).to(features.dtype).to(features.device)


class LocalInstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation with the mean and variance of a window around each position."""

    def __init__(self, norm: nn.InstanceNorm2d, window: tuple[int, int]) -> None:
        super().__init__(norm.num_features, eps=norm.eps, affine=True)
        self.weight, self.bias, self.window = norm.weight, norm.bias, window

    def extra_repr(self) -> str:
        """Show the window, in addition to instance normalisation."""
        return f"{super().extra_repr()}, window={self.window}"

    def forward(self, input: Tensor) -> Tensor:
        wide = _in_double(input)
        mean = local_mean(wide, self.window)
        variance = (local_mean(wide * wide, self.window) - mean * mean).clamp(min=0)
        scaled = ((wide - mean) / (variance + self.eps).sqrt()).to(input.dtype).to(input.device)
        return scaled * self.weight[None, :, None, None] + self.bias[None, :, None, None]


def _in_double(features: Tensor) -> Tensor:
    """Return features in double precision, on the CPU if they are on a device without it."""
    return (features.cpu() if features.device.type == "mps" else features).double()


def local_mean(features: Tensor, window: tuple[int, int]) -> Tensor:
    """Return the means over windows of ``b c h w``, by cumulative sums in double precision.

    The cost does not depend on the size of the window.

    >>> local_mean(torch.tensor([[[[0.0, 3.0, 6.0, 9.0]]]]), (1, 3)).flatten().tolist()
    [3.0, 3.0, 6.0, 6.0]
    """
    total = _in_double(features)
    for dim, wanted in zip((-2, -1), window, strict=True):
        size = total.shape[dim]
        length = min(wanted, size)
        summed = nn.functional.pad(total.cumsum(dim), (0, 0, 1, 0) if dim == -2 else (1, 0, 0, 0))
        starts = (torch.arange(size, device=total.device) - length // 2).clamp(0, size - length)
        total = (summed.index_select(dim, starts + length) - summed.index_select(dim, starts)) / length
    return total


def with_local_statistics(network: Network, *, crop_px: int = 256) -> Network:
    """Copy a network and let the copy average over windows of 1.5 training crops.

    Args:
        network: The network.
        crop_px: The side of the crops it was trained on.

    Returns:
        The copy, in evaluation mode.

    Raises:
        UserError: If the network does not average over its input.

    References:
        Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022.

    Example:
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8, depth=3, normalised_levels=(1, 2)).eval()
        >>> local = with_local_statistics(network, crop_px=64)
        >>> small = torch.rand(1, 3, 64, 64)  # smaller than a window, so the statistics are the same
        >>> torch.allclose(network(small)[-1], local(small)[-1], atol=1e-4)
        True
    """
    local = copy.deepcopy(network)
    modules = cast("dict[str, nn.Module]", dict(cast(Any, local).named_modules()))
    wanted = {name: module for name, module in modules.items() if _takes_means(module)}
    if not wanted:
        raise UserError(f"{network.info.name or 'this network'} does not average over its input: TLC changes nothing")
    side_px = round(LARGER * crop_px / local.size_multiple) * local.size_multiple
    for name, window in _input_sizes(local.eval(), wanted, side_px).items():
        parent, _, last = name.rpartition(".")
        module = wanted[name]
        norm = isinstance(module, nn.InstanceNorm2d)
        made = LocalInstanceNorm(module, window) if norm else LocalAveragePool(window)
        setattr(local.get_submodule(parent), last, made)
    return local


def _input_sizes(network: Network, modules: Mapping[str, nn.Module], side_px: int) -> dict[str, tuple[int, int]]:
    """Return the height and width of each module's input when the network restores an image of ``side_px``."""
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes[name] = (int(inputs[0].shape[-2]), int(inputs[0].shape[-1]))

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    parameter = next(network.parameters())
    with torch.no_grad():
        network(torch.zeros(1, 3, side_px, side_px, device=parameter.device, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    return sizes


def _takes_means(module: nn.Module) -> bool:
    return isinstance(module, nn.InstanceNorm2d) or (
        isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    )
