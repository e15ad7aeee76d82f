"""Pixel losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfmlc.losses.inputs import check_images

CHARBONNIER_EPS = 1e-3
BINOMIAL = (0.05, 0.25, 0.4, 0.25, 0.05)


def psnr_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the negative PSNR: ``10 log10(MSE + 1e-8)`` per image, averaged over the batch.

    Args:
        restored: Images ``b c h w`` in [0, 1].
        sharp: The sharp images, of the same shape.

    Returns:
        A scalar in dB. Lower is better.

    Raises:
        UserError: If the images are not float tensors ``b c h w`` of one shape on one device.

    References:
        Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPRW 2021, equation 3.

    Example:
        >>> psnr_loss(torch.full((1, 3, 4, 4), 0.1), torch.zeros(1, 3, 4, 4))
        tensor(-20.0000)
    """
    check_images(restored, sharp)
    error = (restored.float() - sharp.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(error + 1e-8).mean()


def charbonnier(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the mean of ``sqrt(difference^2 + 1e-6)``, a smooth absolute error.

    Args:
        restored: Images ``b c h w`` in [0, 1].
        sharp: The sharp images, of the same shape.

    Returns:
        A scalar.

    Raises:
        UserError: If the images are not float tensors ``b c h w`` of one shape on one device.

    References:
        Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021 (MPRNet), equation 2.

    Example:
        >>> charbonnier(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
        tensor(0.0010)
    """
    check_images(restored, sharp)
    return ((restored.float() - sharp.float()).square() + CHARBONNIER_EPS**2).sqrt().mean()


def edge(restored: Tensor, sharp: Tensor) -> Tensor:
    """Return the Charbonnier error between the Laplacians of the two images.

    It measures edges and ignores differences of brightness.

    Args:
        restored: Images ``b c h w`` in [0, 1].
        sharp: The sharp images, of the same shape.

    Returns:
        A scalar.

    Raises:
        UserError: If the images are not float tensors ``b c h w`` of one shape on one device.

    References:
        Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021 (MPRNet), equation 3.

    Example:
        >>> image = torch.rand(1, 3, 64, 64)
        >>> brighter, inverted = image + 0.1, 1 - image
        >>> bool(edge(brighter, image) < 0.1 * edge(inverted, image))
        True
    """
    check_images(restored, sharp)
    detail = laplacian(restored.float() - sharp.float())  # linear, so one pass over the difference is enough
    return (detail.square() + CHARBONNIER_EPS**2).sqrt().mean()


def laplacian(image: Tensor) -> Tensor:
    """Return one level of the Laplacian pyramid of images ``b c h w`` (Burt and Adelson, 1983)."""
    coarse = torch.zeros_like(image)
    coarse[..., ::2, ::2] = 4 * _smooth(image)[..., ::2, ::2]
    return image - _smooth(coarse)


def _smooth(image: Tensor) -> Tensor:
    """Filter along both axes with five binomial taps and replicated borders."""
    channels = image.shape[1]
    taps = torch.tensor(BINOMIAL, dtype=image.dtype, device=image.device)
    padded = nn.functional.pad(image, (2, 2, 2, 2), mode="replicate")
    rows = nn.functional.conv2d(padded, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
    return nn.functional.conv2d(rows, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
