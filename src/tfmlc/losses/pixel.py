"""Losses between pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr_loss(restored: Tensor, sharp: Tensor) -> Tensor:
    """Minus the PSNR: ``10 log10(MSE + 1e-8)`` of every image, averaged over the batch (HINet, equation 3).

    Both are ``b c h w`` in [0, 1]; the answer is a scalar in dB, lower is better.

    >>> import torch
    >>> round(float(psnr_loss(torch.full((1, 3, 4, 4), 0.1), torch.zeros(1, 3, 4, 4))), 2)
    -20.0
    """
    error = (restored.float() - sharp.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(error + 1e-8).mean()
