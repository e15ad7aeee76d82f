"""A U-Net that measures the local spectrum of its input and scales its features by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tfmlc.errors import UserError
from tfmlc.networks.network import Count, Network
from tfmlc.padding import pad_sides

RADII = (0.025, 0.05, 0.09, 0.16)  # cycles per px
DIRECTIONS = 12
CELL_PX = 16
KERNEL_PX, STRIDE, MARGIN = 32, 4, 14  # of the Gabor filters, at half resolution
SMALLEST_POWER = 1e-6
FOLD = 4  # the U-Net works on blocks of 4x4 px
FULL_PX_CHANNELS = 16
MOTION_FREQUENCIES = 24  # as in data/synthesis/motion_spectrum.py
SLOPE = 0.2


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def gabor_bank() -> Tensor:
    """Return the cosine and sine Gabor filters of all radii and directions, ``n 32 32``."""
    place = torch.arange(KERNEL_PX, dtype=torch.float32) - (KERNEL_PX - 1) / 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    filters: list[Tensor] = []
    for radius in RADII:
        std = min(KERNEL_PX / 4, 0.2 / radius)
        window = torch.exp(-(x**2 + y**2) / (2 * std**2))
        window = window / window.sum()
        for direction in range(DIRECTIONS):
            angle = math.pi * direction / DIRECTIONS
            phase = 4 * math.pi * radius * (x * math.cos(angle) + y * math.sin(angle))
            cosine, sine = window * torch.cos(phase), window * torch.sin(phase)
            filters += [cosine - window * cosine.sum(), sine]  # a constant image gives zero
    return KERNEL_PX * torch.stack(filters)


class LocalSpectrum(nn.Module):
    """Computes the log power of the grey image at 48 frequencies, for each cell of 16 px.

    It takes images ``b 3 h w`` whose sides are multiples of 16 and returns ``b 52 h/16 w/16``: for each of 4 radii
    and 12 directions the log power minus its mean over the directions, then the 4 means. Motion blur reduces the
    power along its direction. Convolutions would have to learn to square and average to see this.
    """

    bank: Tensor
    channels = len(RADII) * (DIRECTIONS + 1)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", gabor_bank(), persistent=False)

    @torch.no_grad()
    def forward(self, rgb: Tensor) -> Tensor:
        grey = functional.avg_pool2d(rgb.mean(dim=1, keepdim=True), 2)
        grey = pad_sides(grey, left=MARGIN, right=MARGIN, top=MARGIN, bottom=MARGIN)
        answers = functional.conv2d(grey, self.bank[:, None].to(grey.dtype), stride=STRIDE).float()
        batch, _, height, width = answers.shape
        power = answers.view(batch, -1, 2, height, width).square().sum(dim=2)
        power = functional.avg_pool2d(functional.avg_pool2d(power, 3, 1, 1, count_include_pad=False), 2)
        logarithm = torch.log(power + SMALLEST_POWER).view(batch, len(RADII), DIRECTIONS, *power.shape[-2:])
        mean = logarithm.mean(dim=2, keepdim=True)
        return 0.5 * torch.cat([(logarithm - mean).flatten(1, 2), mean.squeeze(2) + 4], dim=1)


class ModulatedBlock(nn.Module):
    """A residual block of two 3x3 convolutions; the blur code scales and shifts the output of the first one.

    This is FiLM (Perez et al., AAAI 2018) with factors that vary over the image.
    """

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2 = conv3x3(inputs, outputs), conv3x3(outputs, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.modulation = nn.Conv2d(code, 2 * outputs, 1)
        nn.init.zeros_(cast(Tensor, self.modulation.bias))
        self.modulation.weight.data.mul_(0.5)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        out = self.conv_1(features)
        factors = functional.interpolate(
            self.modulation(code), size=out.shape[-2:], mode="bilinear", align_corners=False
        )
        scale, shift = factors.chunk(2, dim=1)
        out = torch.addcmul(shift, out, 1 + scale)
        return self.conv_2(functional.leaky_relu(out, SLOPE)) + self.skip(features)


class SpectralUNet(Network):
    """A U-Net at a quarter of the resolution, modulated by the local spectrum, with a small full-resolution head.

    It takes RGB images in [0, 1], ``b 3 h w``, of any size, and returns one stage. The whole output passes the
    convolutions of the head. They connect the pixels of a 4x4 block, which avoids a visible mesh with a period of
    4 px.

    Args:
        widths: The channels of each level, from fine to coarse.
        encoder_blocks: The blocks of each encoder level, from fine to coarse.
        decoder_blocks: The blocks of each decoder level, from coarse to fine.
        code: The number of channels that describe the blur of a cell.
        head: The channels that the U-Net passes to the head at half resolution, those of the head's convolutions
            there, and those of its convolutions at full resolution.

    References:
        The modulation: Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018.

    Example:
        >>> import torch
        >>> network = SpectralUNet(widths=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1,), code=8, head=(4, 4, 4))
        >>> network(torch.rand(1, 3, 20, 30))[-1].shape
        torch.Size([1, 3, 20, 30])
    """

    padding = "reflect"

    def __init__(
        self,
        *,
        widths: Annotated[Sequence[Count], Field(min_length=1)] = (48, 96, 160, 256),
        encoder_blocks: Sequence[Count] = (1, 1, 2, 2),
        decoder_blocks: Sequence[Count] = (2, 1, 1),
        code: Count = 96,
        head: tuple[Count, Count, Count] = (24, 32, 12),
    ) -> None:
        if not len(widths) == len(encoder_blocks) == len(decoder_blocks) + 1:
            raise UserError(f"{encoder_blocks=} needs a number per level of {widths=}, decoder_blocks one less")
        handed, half, full = head
        step = max(FOLD * 2 ** (len(widths) - 1), CELL_PX)
        super().__init__(step=step, floats_per_px=6 * widths[0] / FOLD**2 + half + 2 * (full + FULL_PX_CHANNELS))
        self.spectrum = LocalSpectrum()
        self.code = nn.Sequential(
            conv3x3(LocalSpectrum.channels, code),
            nn.LeakyReLU(SLOPE),
            conv3x3(code, code),
            nn.LeakyReLU(SLOPE),
            conv3x3(code, code),
            nn.LeakyReLU(SLOPE),
        )
        self.motion = nn.Conv2d(code, MOTION_FREQUENCIES, 1)
        self.stem = conv3x3(3 * FOLD**2, widths[0])
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        for width, blocks in zip(widths, encoder_blocks, strict=True):
            self.encoders.append(nn.ModuleList(ModulatedBlock(width, width, code) for _ in range(blocks)))
        for fine, coarse in pairwise(widths):
            self.downs.append(nn.Conv2d(fine, coarse, 2, stride=2))
        for fine, coarse, blocks in zip(widths[-2::-1], widths[:0:-1], decoder_blocks, strict=True):
            self.ups.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2))
            inputs = [2 * fine] + [fine] * (blocks - 1)
            self.decoders.append(nn.ModuleList(ModulatedBlock(width, fine, code) for width in inputs))
        self.to_half = conv3x3(widths[0], 4 * handed)
        self.half_1, self.half_2 = conv3x3(handed + 12, half), conv3x3(half, 4 * full)
        self.full_1, self.full_2 = conv3x3(full + 3, FULL_PX_CHANNELS), conv3x3(FULL_PX_CHANNELS, 3)
        nn.init.zeros_(self.full_2.weight)  # an untrained network returns its input
        nn.init.zeros_(cast(Tensor, self.full_2.bias))

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (self._restore(blurry, self.code(self.spectrum(blurry))),)

    def with_motion(self, blurry: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the stages and the spectrum of the blur, ``b 24 h/16 w/16`` in [0, 1].

        ``data.synthesis.motion_spectrum`` defines the spectrum. The sides of ``blurry`` are multiples of the step.
        """
        code = self.code(self.spectrum(blurry))
        return (self._restore(blurry, code),), torch.sigmoid(self.motion(code).float())

    def _restore(self, blurry: Tensor, code: Tensor) -> Tensor:
        centred = blurry - 0.5
        folded = functional.pixel_unshuffle(centred, FOLD).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.stem(folded)
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.encoders):
            for block in cast(nn.ModuleList, blocks):
                features = block(features, code)
            if level < len(self.downs):
                skips.append(features)
                features = self.downs[level](features)
        for up, blocks, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            features = torch.cat([up(features), skip], dim=1)
            for block in cast(nn.ModuleList, blocks):
                features = block(features, code)
        joined = _joined(functional.pixel_shuffle(self.to_half(features), 2), functional.pixel_unshuffle(centred, 2))
        features = functional.leaky_relu(self.half_1(joined), SLOPE)
        features = functional.leaky_relu(self.half_2(features), SLOPE)
        joined = _joined(functional.pixel_shuffle(features, 2), centred)
        return blurry + self.full_2(functional.leaky_relu(self.full_1(joined), SLOPE))


def _joined(features: Tensor, image: Tensor) -> Tensor:
    return torch.cat([features, image], dim=1).contiguous(memory_format=torch.channels_last)
