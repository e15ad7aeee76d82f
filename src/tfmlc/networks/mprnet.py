"""MPRNet: three stages, of which two are U-Nets and one runs at full resolution (Zamir et al., CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.networks.hinet import SupervisedAttention
from tfmlc.networks.network import Count, CountOrZero, Network


def conv(inputs: int, outputs: int, kernel_size: int) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)


class ChannelAttention(nn.Module):
    """Scales each channel by a weight that is computed from the means of all channels."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = nn.Sequential(
            conv(width, width // reduction, 1), nn.ReLU(), conv(width // reduction, width, 1), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        return features * self.conv_du(self.pool(features))


class AttentionBlock(nn.Module):
    """Two convolutions and channel attention around a shortcut (the paper's CAB)."""

    def __init__(self, width: int, reduction: int, activation: nn.PReLU) -> None:
        super().__init__()
        self.CA = ChannelAttention(width, reduction)
        self.body = nn.Sequential(conv(width, width, 3), activation, conv(width, width, 3))

    def forward(self, features: Tensor) -> Tensor:
        return self.CA(self.body(features)) + features


def in_half(images: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the halves of images with an even side; an exported graph cannot split a side of unknown length."""
    half = images.shape[dim] // 2
    return images.narrow(dim, 0, half), images.narrow(dim, half, half)


class Resample(nn.Module):
    """Changes the resolution bilinearly, then applies a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, factor: float, name: str) -> None:
        super().__init__()
        resize = nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
        self.add_module(name, nn.Sequential(resize, conv(inputs, outputs, 1)))
        self.name = name

    def forward(self, features: Tensor) -> Tensor:
        return getattr(self, self.name)(features)


def down(inputs: int, outputs: int) -> Resample:
    """Return a module that halves the resolution."""
    return Resample(inputs, outputs, 0.5, "down")


def up(inputs: int, outputs: int) -> Resample:
    """Return a module that doubles the resolution."""
    return Resample(inputs, outputs, 2, "up")


class Encoder(nn.Module):
    """Three levels of two attention blocks; in the second stage they also use the first stage's features."""

    def __init__(self, widths: tuple[int, int, int], reduction: int, activation: nn.PReLU, *, cross: bool) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            blocks = [AttentionBlock(width, reduction, activation) for _ in range(2)]
            self.add_module(f"encoder_level{level}", nn.Sequential(*blocks))
        self.down12, self.down23 = down(widths[0], widths[1]), down(widths[1], widths[2])
        self.cross = cross
        for side in ("enc", "dec") if cross else ():
            for level, width in enumerate(widths, start=1):
                self.add_module(f"csff_{side}{level}", nn.Conv2d(width, width, 1, bias=False))

    def extra_repr(self) -> str:
        """Show whether the blocks use the features of the first stage."""
        return f"cross={self.cross}"

    def forward(
        self, features: Tensor, encoded: list[Tensor] | None = None, decoded: list[Tensor] | None = None
    ) -> list[Tensor]:
        outputs: list[Tensor] = []
        for level in (1, 2, 3):
            if level > 1:
                features = self.get_submodule(f"down{level - 1}{level}")(features)
            features = self.get_submodule(f"encoder_level{level}")(features)
            if encoded is not None and decoded is not None:
                features = features + self.get_submodule(f"csff_enc{level}")(encoded[level - 1])
                features = features + self.get_submodule(f"csff_dec{level}")(decoded[level - 1])
            outputs.append(features)
        return outputs


class Decoder(nn.Module):
    """Decoder with attention on the skip connections; returns its features from fine to coarse."""

    def __init__(self, widths: tuple[int, int, int], reduction: int, activation: nn.PReLU) -> None:
        super().__init__()
        for level, width in enumerate(widths, start=1):
            blocks = [AttentionBlock(width, reduction, activation) for _ in range(2)]
            self.add_module(f"decoder_level{level}", nn.Sequential(*blocks))
        self.skip_attn1 = AttentionBlock(widths[0], reduction, activation)
        self.skip_attn2 = AttentionBlock(widths[1], reduction, activation)
        self.up21, self.up32 = up(widths[1], widths[0]), up(widths[2], widths[1])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        third = self.get_submodule("decoder_level3")(encoded[2])
        second = self.get_submodule("decoder_level2")(self.up32(third) + self.skip_attn2(encoded[1]))
        first = self.get_submodule("decoder_level1")(self.up21(second) + self.skip_attn1(encoded[0]))
        return [first, second, third]


class ResidualBlock(nn.Module):
    """Attention blocks and a convolution around a shortcut (the paper's ORB)."""

    def __init__(self, width: int, reduction: int, activation: nn.PReLU, blocks: int) -> None:
        super().__init__()
        attention = [AttentionBlock(width, reduction, activation) for _ in range(blocks)]
        self.body = nn.Sequential(*attention, conv(width, width, 3))

    def forward(self, features: Tensor) -> Tensor:
        return self.body(features) + features


class OriginalResolution(nn.Module):
    """The third stage: it keeps the resolution and uses the second stage's features of all levels."""

    def __init__(
        self, widths: tuple[int, int, int], extra: int, reduction: int, activation: nn.PReLU, blocks: int
    ) -> None:
        super().__init__()
        first, second, third = widths
        for level in (1, 2, 3):
            self.add_module(f"orb{level}", ResidualBlock(first + extra, reduction, activation, blocks))
        for side in ("enc", "dec"):
            self.add_module(f"up_{side}1", up(second, first))
            self.add_module(f"up_{side}2", nn.Sequential(up(third, second), up(second, first)))
            for level in (1, 2, 3):
                self.add_module(f"conv_{side}{level}", nn.Conv2d(first, first + extra, 1, bias=False))

    def forward(self, features: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        for level in (1, 2, 3):
            features = self.get_submodule(f"orb{level}")(features)
            for side, outputs in (("enc", encoded), ("dec", decoded)):
                finer = outputs[level - 1]
                if level > 1:
                    finer = self.get_submodule(f"up_{side}{level - 1}")(finer)
                features = features + self.get_submodule(f"conv_{side}{level}")(finer)
        return features


def join(halves: tuple[list[Tensor], list[Tensor]], dim: int) -> list[Tensor]:
    """Join two lists of feature maps, side by side (``dim=3``) or one above the other (``dim=2``)."""
    return [torch.cat(pair, dim=dim) for pair in zip(*halves, strict=True)]


class MPRNet(Network):
    """MPRNet: its three stages restore quarters of the image, halves and the whole image.

    It takes RGB images in [0, 1], ``b 3 h w``, of any size, and returns three stages, first stage first. The official
    code returns the last stage first. All activations share one PReLU.

    Args:
        width: The channels of the finest level.
        unet_step: How many channels each coarser level of the U-Nets adds.
        original_step: How many channels the third stage adds to ``width``.
        original_blocks: The attention blocks in each residual block of the third stage.
        reduction: By which factor channel attention reduces the channels.

    References:
        Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021, figure 2.

    Example:
        >>> import torch
        >>> network = MPRNet(width=16, unet_step=8, original_step=4, original_blocks=1)
        >>> stages = network(torch.rand(1, 3, 20, 30))
        >>> len(stages), stages[-1].shape
        (3, torch.Size([1, 3, 20, 30]))
    """

    padding = "reflect"

    def __init__(
        self,
        *,
        width: Count = 96,
        unet_step: CountOrZero = 48,
        original_step: CountOrZero = 32,
        original_blocks: Count = 8,
        reduction: Count = 4,
    ) -> None:
        if reduction > width:
            raise UserError(f"reduction={reduction} must be at most width={width}")
        super().__init__(step=8, floats_per_px=14 * (width + original_step))
        activation = nn.PReLU()
        widths = (width, width + unet_step, width + 2 * unet_step)
        for stage in (1, 2, 3):
            head = nn.Sequential(conv(3, width, 3), AttentionBlock(width, reduction, activation))
            self.add_module(f"shallow_feat{stage}", head)
        self.stage1_encoder = Encoder(widths, reduction, activation, cross=False)
        self.stage1_decoder = Decoder(widths, reduction, activation)
        self.stage2_encoder = Encoder(widths, reduction, activation, cross=True)
        self.stage2_decoder = Decoder(widths, reduction, activation)
        self.stage3_orsnet = OriginalResolution(widths, original_step, reduction, activation, original_blocks)
        self.sam12 = SupervisedAttention(width, 3, kernel_size=1, bias=False)
        self.sam23 = SupervisedAttention(width, 3, kernel_size=1, bias=False)
        self.concat12 = conv(2 * width, width, 3)
        self.concat23 = conv(2 * width, width + original_step, 3)
        self.tail = conv(width + original_step, 3, 3)

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        shallow = [self.get_submodule(f"shallow_feat{stage}") for stage in (1, 2, 3)]
        halves = in_half(blurry, dim=2)
        encoded: list[list[Tensor]] = []
        decoded: list[list[Tensor]] = []
        first: list[Tensor] = []
        second_inputs: list[Tensor] = []
        for half in halves:
            left, right = (self.stage1_encoder(shallow[0](quarter)) for quarter in in_half(half, dim=3))
            encoded.append(join((left, right), dim=3))
            decoded.append(self.stage1_decoder(encoded[-1]))
            attended, restored = self.sam12(decoded[-1][0], half)
            first.append(restored)
            second_inputs.append(self.concat12(torch.cat([shallow[1](half), attended], dim=1)))
        top, bottom = (self.stage2_encoder(*inputs) for inputs in zip(second_inputs, encoded, decoded, strict=True))
        whole = join((top, bottom), dim=2)
        second_decoded = self.stage2_decoder(whole)
        attended, second = self.sam23(second_decoded[0], blurry)
        features = self.concat23(torch.cat([shallow[2](blurry), attended], dim=1))
        third = self.tail(self.stage3_orsnet(features, whole, second_decoded)) + blurry
        return torch.cat(first, dim=2), second, third
