"""A second task for a deblurring network during training: to predict the spectrum of the blur."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from tfmlc.data.synthesis.motion_spectrum import FREQUENCIES
from tfmlc.errors import UserError
from tfmlc.networks import Network
from tfmlc.networks.hinet import HINet
from tfmlc.networks.spectral_unet import CELL_PX, SpectralUNet

SLOPE = 0.2


class BlurHeads(nn.Module):
    """A HINet with heads that predict the spectrum of the blur from the deepest features of its two stages.

    ``forward(blurry)`` returns ``(stages, spectra)``: the restored images, and for each stage a spectrum
    ``b 24 h/cell w/cell`` in [0, 1] (see ``motion_spectrum``). ``cell_px`` is the side of a cell in px. The second task
    teaches the network about blur, which helps it to remove blur. After training, the heads are dropped.

    Args:
        network: The network.

    Example:
        >>> heads = BlurHeads(HINet(width=8, depth=3, normalised_levels=(1, 2)))
        >>> stages, spectra = heads(torch.rand(1, 3, 32, 32))
        >>> spectra[0].shape == (1, 24, 32 // heads.cell_px, 32 // heads.cell_px)
        True
    """

    def __init__(self, network: HINet) -> None:
        super().__init__()
        self.network = network
        self.cell_px = network.size_multiple
        self._deepest: dict[int, Tensor] = {}
        heads: list[nn.Module] = []
        for stage, path in enumerate((network.down_path_1, network.down_path_2)):
            width = cast(nn.Conv2d, path[-1].conv_2).out_channels
            path[-1].register_forward_hook(partial(self._keep, stage))
            heads.append(
                nn.Sequential(
                    nn.LeakyReLU(SLOPE),
                    nn.Conv2d(width, width // 2, 1),
                    nn.LeakyReLU(SLOPE),
                    nn.Conv2d(width // 2, len(FREQUENCIES), 1),
                )
            )
        self.heads = nn.ModuleList(heads)

    def extra_repr(self) -> str:
        """Show the side of a cell."""
        return f"cell_px={self.cell_px}"

    def _keep(self, stage: int, block: nn.Module, inputs: Any, features: Tensor) -> None:  # noqa: ARG002
        self._deepest[stage] = features

    def forward(self, blurry: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        stages = cast("tuple[Tensor, ...]", self.network(blurry))
        return stages, [torch.sigmoid(head(self._deepest[stage]).float()) for stage, head in enumerate(self.heads)]


class MotionTask(nn.Module):
    """A spectral U-Net that also returns the spectrum of the blur. ``forward`` returns the same as ``BlurHeads``."""

    cell_px = CELL_PX

    def __init__(self, network: SpectralUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, blurry: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        stages, spectrum = self.network.with_motion(blurry)
        return stages, [spectrum]


def motion_task(network: Network) -> BlurHeads | MotionTask:
    """Add the second task to a network; raises UserError if the network does not support it."""
    if isinstance(network, SpectralUNet):
        return MotionTask(network)
    if isinstance(network, HINet):
        return BlurHeads(network)
    raise UserError("blur_heads works only with hinet and spectral-unet: set blur_heads=0 for other networks")
