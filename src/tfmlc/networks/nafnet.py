"""NAFNet: a U-Net of blocks without activation functions (Chen et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.networks.network import Count, CountOrZero, Network


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel (NAFNet, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"channels={len(self.weight)}"

    def forward(self, features: Tensor) -> Tensor:
        last = features.permute(0, 2, 3, 1)
        return nn.functional.layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


def gate(features: Tensor) -> Tensor:
    """Multiply one half of the channels by the other, the network's only nonlinearity (NAFNet, equation 4)."""
    first, second = features.chunk(2, dim=1)
    return first * second


class NafBlock(nn.Module):
    """A depthwise convolution with gate and channel attention, then a gated 1x1 network (NAFNet, figure 3c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.conv1 = nn.Conv2d(width, width * 2, 1)
        self.conv2 = nn.Conv2d(width * 2, width * 2, 3, padding=1, groups=width * 2)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))
        self.conv4 = nn.Conv2d(width, width * 2, 1)
        self.conv5 = nn.Conv2d(width, width, 1)
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        mixed = gate(self.conv2(self.conv1(self.norm1(features))))
        features = features + self.conv3(mixed * self.sca(mixed)) * self.beta
        return features + self.conv5(gate(self.conv4(self.norm2(features)))) * self.gamma


class NAFNet(Network):
    """NAFNet: one U-Net whose blocks have no activation functions.

    It takes RGB images in [0, 1], ``b 3 h w``, of any size, and returns one stage.

    Args:
        width: The channels of the finest level.
        middle_blocks: The blocks at the coarsest resolution.
        encoder_blocks: The blocks of each encoder level, from fine to coarse.
        decoder_blocks: The blocks of each decoder level, from coarse to fine.
        unshuffle: With 2, the network runs on blocks of 2x2 pixels, at half the resolution and a quarter of the cost.

    References:
        Chen et al., "Simple Baselines for Image Restoration", ECCV 2022.

    Example:
        >>> import torch
        >>> network = NAFNet(width=8, middle_blocks=1, encoder_blocks=(1, 1), decoder_blocks=(1, 1))
        >>> network(torch.rand(1, 3, 9, 7))[-1].shape
        torch.Size([1, 3, 9, 7])
    """

    padding = "zeros"

    def __init__(
        self,
        *,
        width: Count = 32,
        middle_blocks: CountOrZero = 1,
        encoder_blocks: Sequence[CountOrZero] = (1, 1, 1, 28),
        decoder_blocks: Sequence[CountOrZero] = (1, 1, 1, 1),
        unshuffle: Count = 1,
    ) -> None:
        if len(encoder_blocks) != len(decoder_blocks):
            raise UserError(f"decoder_blocks={decoder_blocks} needs a number per level of {encoder_blocks=}")
        super().__init__(step=2 ** len(encoder_blocks), floats_per_px=12 * width, unshuffle=unshuffle)
        self.intro = nn.Conv2d(self.image_channels, width, 3, padding=1)
        self.ending = nn.Conv2d(width, self.image_channels, 3, padding=1)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.ups, self.downs = nn.ModuleList(), nn.ModuleList()
        for blocks in encoder_blocks:
            self.encoders.append(nn.Sequential(*(NafBlock(width) for _ in range(blocks))))
            self.downs.append(nn.Conv2d(width, width * 2, 2, stride=2))
            width *= 2
        self.middle_blks = nn.Sequential(*(NafBlock(width) for _ in range(middle_blocks)))
        for blocks in decoder_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(width, width * 2, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*(NafBlock(width) for _ in range(blocks))))

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        features = self.intro(blurry)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            features = encoder(features)
            skips.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            features = decoder(up(features) + skip)
        return (self.ending(features) + blurry,)
