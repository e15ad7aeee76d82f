"""HINet: a two-stage U-Net with half instance normalisation (Chen et al., CVPRW 2021)."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from tfmlc.networks.network import Count, CountOrZero, Network

SLOPE = 0.2


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def normalise(features: Tensor, norm: nn.InstanceNorm2d) -> Tensor:
    """Apply instance normalisation; a single pixel equals its own mean, so the result is the norm's bias."""
    if features.shape[-2:] != (1, 1):
        return norm(features)
    return features * 0 + norm.bias[None, :, None, None]


class HinBlock(nn.Module):
    """Two 3x3 convolutions with a 1x1 shortcut; half of the first one's channels can be instance-normalised."""

    def __init__(self, inputs: int, outputs: int, *, downsample: bool, cross_stage: bool, normalise: bool) -> None:
        super().__init__()
        self.identity = nn.Conv2d(inputs, outputs, 1)
        self.conv_1 = conv3x3(inputs, outputs)
        self.conv_2 = conv3x3(outputs, outputs)
        self.csff_enc = conv3x3(outputs, outputs) if cross_stage else None
        self.csff_dec = conv3x3(outputs, outputs) if cross_stage else None
        self.norm = nn.InstanceNorm2d(outputs // 2, affine=True) if normalise else None
        self.downsample = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False) if downsample else None

    def forward(self, features: Tensor, encoded: Tensor | None = None, decoded: Tensor | None = None) -> Tensor:
        out = self.conv_1(features)
        if self.norm is not None:
            normalised, plain = out.chunk(2, dim=1)
            out = torch.cat([normalise(normalised, self.norm), plain], dim=1)
        out = nn.functional.leaky_relu(out, SLOPE)
        out = nn.functional.leaky_relu(self.conv_2(out), SLOPE)
        out = out + self.identity(features)
        if self.csff_enc is not None and self.csff_dec is not None:
            out = out + self.csff_enc(encoded) + self.csff_dec(decoded)
        return out


class UpBlock(nn.Module):
    """Doubles the resolution, concatenates the skip connection and convolves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv_block = HinBlock(inputs, outputs, downsample=False, cross_stage=False, normalise=False)

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        return self.conv_block(torch.cat([self.up(features), skip], dim=1))


class SupervisedAttention(nn.Module):
    """Restores an image from the features and gates the features by that image."""

    def __init__(self, width: int, image_channels: int, *, kernel_size: int, bias: bool) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv1 = nn.Conv2d(width, width, kernel_size, padding=padding, bias=bias)
        self.conv2 = nn.Conv2d(width, image_channels, kernel_size, padding=padding, bias=bias)
        self.conv3 = nn.Conv2d(image_channels, width, kernel_size, padding=padding, bias=bias)

    def forward(self, features: Tensor, blurry: Tensor) -> tuple[Tensor, Tensor]:
        restored = self.conv2(features) + blurry
        return self.conv1(features) * self.conv3(restored).sigmoid() + features, restored


class HINet(Network):
    """HINet: two U-Nets in a row, each of which restores the image.

    It takes RGB images in [0, 1], ``b 3 h w``, of any size, and returns two stages.

    Args:
        width: The channels of the finest level.
        depth: The number of levels.
        normalised_levels: The first and the last encoder level with half instance normalisation, counted from zero.
            None normalises no level.
        unshuffle: With 2, the network runs on blocks of 2x2 pixels, at half the resolution and a quarter of the cost.
        head: The channels of a head of three 3x3 convolutions at full resolution; 0 for no head.
        scales: With 2, the same weights first restore the image at half its size, and its change is an input of both
            U-Nets at full size. The stages are then three; the first is the image with the change of the half size.

    References:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPRW 2021, figure 2.

    Example:
        >>> import torch
        >>> network = HINet(width=8, depth=3, normalised_levels=(1, 2))
        >>> [stage.shape for stage in network(torch.rand(1, 3, 20, 30))]
        [torch.Size([1, 3, 20, 30]), torch.Size([1, 3, 20, 30])]
    """

    padding = "reflect"

    def __init__(
        self,
        *,
        width: Count = 64,
        depth: Count = 5,
        normalised_levels: tuple[int, int] | None = (3, 4),
        unshuffle: Count = 1,
        head: CountOrZero = 0,
        scales: Literal[1, 2] = 1,
    ) -> None:
        step = 2 ** (depth - 1) * scales
        super().__init__(step=step, floats_per_px=12 * width, unshuffle=unshuffle, head=head)
        first, last = normalised_levels if normalised_levels is not None else (depth, depth)
        widths = [width * 2**level for level in range(depth)]
        channels = self.image_channels
        self.down_path_1, self.down_path_2 = nn.ModuleList(), nn.ModuleList()
        previous = width
        for level, outputs in enumerate(widths):
            deeper, normalise = level + 1 < depth, first <= level <= last
            for path, second in ((self.down_path_1, False), (self.down_path_2, True)):
                path.append(
                    HinBlock(previous, outputs, downsample=deeper, cross_stage=second and deeper, normalise=normalise)
                )
            previous = outputs
        self.conv_01, self.conv_02 = conv3x3(channels, width), conv3x3(channels, width)
        self.up_path_1, self.up_path_2 = nn.ModuleList(), nn.ModuleList()
        self.skip_conv_1, self.skip_conv_2 = nn.ModuleList(), nn.ModuleList()
        for inputs, outputs in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True):
            for ups, skips in ((self.up_path_1, self.skip_conv_1), (self.up_path_2, self.skip_conv_2)):
                ups.append(UpBlock(inputs, outputs))
                skips.append(conv3x3(outputs, outputs))
        self.sam12 = SupervisedAttention(width, channels, kernel_size=3, bias=True)
        self.cat12 = nn.Conv2d(width * 2, width, 1)
        self.last = conv3x3(width, channels)
        self.scales = scales
        if scales == 2:
            self.coarse_01, self.coarse_02 = conv3x3(channels, width), conv3x3(channels, width)
            for parameter in (*self.coarse_01.parameters(), *self.coarse_02.parameters()):
                nn.init.zeros_(parameter)  # new inputs change nothing before they are trained

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        if self.scales == 1:
            return self._at_one_scale(blurry)
        small = nn.functional.avg_pool2d(nn.functional.pixel_shuffle(blurry, self.unshuffle), 2)
        small = nn.functional.pixel_unshuffle(small, self.unshuffle)
        change = nn.functional.pixel_shuffle(self._at_one_scale(small)[-1] - small, self.unshuffle)
        change = nn.functional.interpolate(change, scale_factor=2, mode="bilinear", align_corners=False)
        change = nn.functional.pixel_unshuffle(change, self.unshuffle)
        return blurry + change, *self._at_one_scale(blurry, change)

    def _at_one_scale(self, blurry: Tensor, change: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first, second = self.conv_01(blurry), self.conv_02(blurry)
        if change is not None:
            first, second = first + self.coarse_01(change), second + self.coarse_02(change)
        features, encoded, decoded = self._u_net(first, stage=1)
        attended, first = self.sam12(features, blurry)
        features = self.cat12(torch.cat([second, attended], dim=1))
        features, _, _ = self._u_net(features, stage=2, encoded=encoded, decoded=decoded)
        return first, self.last(features) + blurry

    def _u_net(
        self, features: Tensor, *, stage: int, encoded: list[Tensor] | None = None, decoded: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Run one U-Net and return its output and its encoder and decoder features, both from fine to coarse."""
        downs: nn.ModuleList = getattr(self, f"down_path_{stage}")
        ups: nn.ModuleList = getattr(self, f"up_path_{stage}")
        skips: nn.ModuleList = getattr(self, f"skip_conv_{stage}")
        own: list[Tensor] = []
        for level, block in enumerate(downs):
            block = cast(HinBlock, block)
            if block.downsample is None:
                features = block(features)
            else:
                features = block(features, encoded and encoded[level], decoded and decoded[level])
                own.append(features)
                features = block.downsample(features)
        outputs: list[Tensor] = []
        for level, (up, skip) in enumerate(zip(ups, skips, strict=True)):
            features = up(features, skip(own[-1 - level]))
            outputs.append(features)
        return features, own, outputs[::-1]
