"""Losses between pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tfmlc.losses.inputs import check_images

CHARBONNIER_EPS = 1e-3
BINOMIAL = (0.05, 0.25, 0.4, 0.25, 0.05)


def psnr_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Minus the PSNR: ``10 log10(MSE + 1e-8)`` of every image, averaged over the batch (HINet, equation 3).

    Both are ``b c h w`` in [0, 1]; the answer is a scalar in dB, lower is better. Raises UserError for anything
    else than two float tensors of one shape, as all losses here.

    >>> import torch
    >>> round(float(psnr_loss(torch.full((1, 3, 4, 4), 0.1), torch.zeros(1, 3, 4, 4))), 2)
    -20.0
    """
    check_images(restored, sharp)
    error = (restored.float() - sharp.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(error + 1e-8).mean()


def charbonnier(restored: Tensor, sharp: Tensor) -> Tensor:
    """Mean of ``sqrt(difference^2 + 1e-6)``, a smooth absolute error (MPRNet, equation 2).

    Both are ``b c h w`` in [0, 1]; the answer is a scalar.

    >>> import torch
    >>> round(float(charbonnier(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))), 4)
    0.001
    """
    check_images(restored, sharp)
    return ((restored.float() - sharp.float()).square() + CHARBONNIER_EPS**2).sqrt().mean()


def edge(restored: Tensor, sharp: Tensor) -> Tensor:
    """Charbonnier error of the two images' Laplacians (MPRNet, equation 3).

    Both are ``b c h w`` in [0, 1]; the answer is a scalar. The Laplacian is linear, so it is taken once, of the
    difference.

    >>> import torch
    >>> image = torch.rand(1, 3, 64, 64)
    >>> float(edge(image + 0.1, image)) < 0.1 * float(edge(1 - image, image))  # brightness is not edges
    True
    """
    check_images(restored, sharp)
    detail = laplacian(restored.float() - sharp.float())
    return (detail.square() + CHARBONNIER_EPS**2).sqrt().mean()


def laplacian(image: Tensor) -> Tensor:
    """What one level of a Laplacian pyramid keeps of ``b c h w`` (Burt and Adelson, 1983)."""
    coarse = torch.zeros_like(image)
    coarse[..., ::2, ::2] = 4 * _smooth(image)[..., ::2, ::2]
    return image - _smooth(coarse)


def _smooth(image: Tensor) -> Tensor:
    """Five-tap binomial filter along both axes, the border replicated."""
    channels = image.shape[1]
    taps = torch.tensor(BINOMIAL, dtype=image.dtype, device=image.device)
    padded = nn.functional.pad(image, (2, 2, 2, 2), mode="replicate")
    rows = nn.functional.conv2d(padded, taps.view(1, 1, 1, 5).expand(channels, 1, 1, 5), groups=channels)
    return nn.functional.conv2d(rows, taps.view(1, 1, 5, 1).expand(channels, 1, 5, 1), groups=channels)
