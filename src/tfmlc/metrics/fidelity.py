"""PSNR and SSIM, as the field's protocols define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image8 = NDArray[np.uint8]
Image = NDArray[Any]  # uint8, or float in [0, 1]
ImageF = NDArray[np.float64]
RADIUS = 5
LUMA = np.array([0.299, 0.587, 0.114])


def mean_squared_error(restored: Image, sharp: Image) -> float:
    """Mean squared error relative to white, of ``h w c`` images of one type: uint8, or float in [0, 1]."""
    return float(np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2)) / white(restored) ** 2


def psnr(restored: Image, sharp: Image) -> float:
    """PSNR in dB, no border cut; infinite where the images are equal.

    >>> import numpy as np
    >>> round(psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)), 2)
    0.0
    """
    return psnr_of(mean_squared_error(restored, sharp))


def psnr_of(error: float) -> float:
    """PSNR in dB of a mean squared error relative to white."""
    return float("inf") if error == 0 else float(10 * np.log10(1 / error))


def white(image: Image) -> float:
    """The value of white: 255 for uint8, 1 for floats."""
    return 255.0 if image.dtype == np.uint8 else 1.0


def _window() -> ImageF:
    taps = np.exp(-((np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2) / 2)
    return np.asarray(taps / taps.sum(), np.float64)


def _gaussian(image: ImageF) -> ImageF:
    taps = _window()
    blurred = cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(image.shape)


def ssim_map(restored: Image, sharp: Image, blur: Callable[[ImageF], ImageF] = _gaussian) -> ImageF:
    """SSIM of every place and channel of ``h w c`` images (Wang et al., TIP 2004), by default with a 2-D Gaussian."""
    one, two = restored.astype(np.float64), sharp.astype(np.float64)
    c1, c2 = (0.01 * white(restored)) ** 2, (0.03 * white(restored)) ** 2
    mean1, mean2 = blur(one), blur(two)
    variance1, variance2 = blur(one * one) - mean1**2, blur(two * two) - mean2**2
    covariance = blur(one * two) - mean1 * mean2
    numerator = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return np.asarray(numerator / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2)), np.float64)


def ssim_3d(restored: Image, sharp: Image) -> float:
    """SSIM with an 11 x 11 x 11 Gaussian over height, width and channels (sigma 1.5, replicate padding).

    What HINet, NAFNet and TLC report on GoPro. ``h w 3``; 1 where the images are equal.

    >>> ssim_3d(np.full((4, 6, 3), 9, np.uint8), np.full((4, 6, 3), 9, np.uint8))
    1.0
    """
    mix = _channel_filter(restored.shape[2])

    def blur(image: ImageF) -> ImageF:
        return np.asarray(_gaussian(image) @ mix, np.float64)

    return float(ssim_map(restored, sharp, blur).mean())


def ssim_2d(restored: Image, sharp: Image) -> float:
    """SSIM with an 11 x 11 Gaussian in each channel (sigma 1.5), where the window fits; mean over channels.

    What BasicSR, KAIR and mmagic report, and skimage with a Gaussian window. ``h w 3``; images smaller than the
    window are padded by repeating their border.
    """
    found = ssim_map(restored, sharp)
    inner = found[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float((inner if inner.size else found).mean())


def _channel_filter(channels: int) -> ImageF:
    """The Gaussian over channels with replicate padding, as a matrix to multiply them with from the right."""
    matrix = np.zeros((channels, channels))
    for channel in range(channels):
        for offset, tap in zip(range(-RADIUS, RADIUS + 1), _window(), strict=True):
            matrix[min(max(channel + offset, 0), channels - 1), channel] += tap
    return matrix


def ssim_luma(restored: Image8, sharp: Image8) -> float:
    """The 2-D SSIM of luma, rounded to 8 bits: MATLAB's ``ssim`` on grey images."""
    luma = [np.rint(image @ LUMA)[..., None].astype(np.uint8) for image in (restored, sharp)]
    return ssim_2d(*luma)
