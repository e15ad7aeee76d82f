"""PSNR and SSIM of 8 bit images, as the field's protocols define them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
ImageF = NDArray[np.float64]
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
RADIUS = 5


def psnr(restored: Image8, sharp: Image8) -> float:
    """PSNR in dB of two uint8 ``h w 3`` images, no border cut; infinite where they are equal.

    >>> import numpy as np
    >>> round(psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)), 2)
    0.0
    """
    error = float(np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def ssim_3d(restored: Image8, sharp: Image8) -> float:
    """SSIM with an 11 x 11 x 11 Gaussian over height, width and channels (sigma 1.5, replicate padding).

    What HINet, NAFNet and TLC report on GoPro. ``uint8 h w 3``; 1 where the images are equal.

    >>> ssim_3d(np.full((4, 6, 3), 9, np.uint8), np.full((4, 6, 3), 9, np.uint8))
    1.0
    """
    mix = _channel_filter(restored.shape[2])

    def blur(image: ImageF) -> ImageF:
        return np.asarray(_gaussian(image) @ mix, np.float64)

    return float(_ssim_map(restored, sharp, blur).mean())


def ssim_2d(restored: Image8, sharp: Image8) -> float:
    """SSIM with an 11 x 11 Gaussian in each channel (sigma 1.5), where the window fits; mean over channels.

    What BasicSR, KAIR and mmagic report, and skimage with a Gaussian window. ``uint8 h w 3``; images smaller than the
    window are padded by repeating their border.
    """
    found = _ssim_map(restored, sharp, _gaussian)
    inner = found[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float((inner if inner.size else found).mean())


def _ssim_map(restored: Image8, sharp: Image8, filtered: Callable[[ImageF], ImageF]) -> ImageF:
    one, two = restored.astype(np.float64), sharp.astype(np.float64)
    mean1, mean2 = filtered(one), filtered(two)
    variance1, variance2 = filtered(one * one) - mean1**2, filtered(two * two) - mean2**2
    covariance = filtered(one * two) - mean1 * mean2
    numerator = (2 * mean1 * mean2 + C1) * (2 * covariance + C2)
    return np.asarray(numerator / ((mean1**2 + mean2**2 + C1) * (variance1 + variance2 + C2)), np.float64)


def _window() -> ImageF:
    taps = np.exp(-((np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2) / 2)
    return np.asarray(taps / taps.sum(), np.float64)


def _gaussian(image: ImageF) -> ImageF:
    taps = _window()
    return np.asarray(cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE), np.float64)


def _channel_filter(channels: int) -> ImageF:
    """The Gaussian over channels with replicate padding, as a matrix to multiply them with from the right."""
    matrix = np.zeros((channels, channels))
    for channel in range(channels):
        for offset, tap in zip(range(-RADIUS, RADIUS + 1), _window(), strict=True):
            matrix[min(max(channel + offset, 0), channels - 1), channel] += tap
    return matrix
