"""PSNR and the variants of SSIM."""

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
    """Return the mean squared error of two images, on a scale where white is 1.

    Args:
        restored: An image ``h w c``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.

    Returns:
        The error, 0 for equal images.
    """
    return float(np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2)) / white(restored) ** 2


def psnr(restored: Image, sharp: Image) -> float:
    """Return the peak signal-to-noise ratio over the whole image.

    Args:
        restored: An image ``h w c``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.

    Returns:
        The PSNR in dB; infinity for equal images.

    Example:
        >>> restored = np.full((8, 8, 3), 0.1)
        >>> round(psnr(restored, np.zeros((8, 8, 3))), 2)
        20.0
    """
    return psnr_of(mean_squared_error(restored, sharp))


def psnr_of(error: float) -> float:
    """Return the PSNR in dB of a mean squared error, on a scale where white is 1."""
    return float("inf") if error == 0 else float(10 * np.log10(1 / error))


def white(image: Image) -> float:
    """Return the value of white: 255 for uint8, 1 for floats."""
    return 255.0 if image.dtype == np.uint8 else 1.0


def _window() -> ImageF:
    taps = np.exp(-((np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2) / 2)
    return np.asarray(taps / taps.sum(), np.float64)


def _gaussian(image: ImageF) -> ImageF:
    taps = _window()
    blurred = cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float64).reshape(image.shape)


def ssim_map(restored: Image, sharp: Image, blur: Callable[[ImageF], ImageF] = _gaussian) -> ImageF:
    """Return the SSIM of each pixel and channel.

    Args:
        restored: An image ``h w c``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.
        blur: The window as a filter, by default an 11 x 11 Gaussian with a standard deviation of 1.5 px.

    Returns:
        The values, ``h w c``.

    References:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004.
    """
    one, two = restored.astype(np.float64), sharp.astype(np.float64)
    c1, c2 = (0.01 * white(restored)) ** 2, (0.03 * white(restored)) ** 2
    mean1, mean2 = blur(one), blur(two)
    variance1, variance2 = blur(one * one) - mean1**2, blur(two * two) - mean2**2
    covariance = blur(one * two) - mean1 * mean2
    numerator = (2 * mean1 * mean2 + c1) * (2 * covariance + c2)
    return np.asarray(numerator / ((mean1**2 + mean2**2 + c1) * (variance1 + variance2 + c2)), np.float64)


def ssim_3d(restored: Image, sharp: Image) -> float:
    """Return the SSIM with an 11 x 11 x 11 Gaussian window over height, width and channels.

    The window has a standard deviation of 1.5 px, and borders are replicated. HINet, NAFNet and TLC report this
    variant on GoPro.

    Args:
        restored: An image ``h w 3``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.

    Returns:
        The SSIM, 1 for equal images.

    Example:
        >>> image = np.full((16, 16, 3), 9, np.uint8)
        >>> ssim_3d(image, image)
        1.0
    """
    mix = _channel_filter(restored.shape[2])

    def blur(image: ImageF) -> ImageF:
        return np.asarray(_gaussian(image) @ mix, np.float64)

    return float(ssim_map(restored, sharp, blur).mean())


def ssim_2d(restored: Image, sharp: Image) -> float:
    """Return the SSIM with an 11 x 11 Gaussian window in each channel, averaged over the channels.

    The window has a standard deviation of 1.5 px. Only pixels where it fits count; smaller images are padded by
    replicating their borders. BasicSR, KAIR and mmagic report this variant, and scikit-image computes it with a
    Gaussian window.

    Args:
        restored: An image ``h w 3``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.

    Returns:
        The SSIM, 1 for equal images.

    Example:
        >>> image = np.full((16, 16, 3), 9, np.uint8)
        >>> ssim_2d(image, image)
        1.0
    """
    found = ssim_map(restored, sharp)
    inner = found[RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float((inner if inner.size else found).mean())


def _channel_filter(channels: int) -> ImageF:
    """Return the Gaussian over the channels, with replicated borders, as a matrix to multiply from the right."""
    matrix = np.zeros((channels, channels))
    for channel in range(channels):
        for offset, tap in zip(range(-RADIUS, RADIUS + 1), _window(), strict=True):
            matrix[min(max(channel + offset, 0), channels - 1), channel] += tap
    return matrix


def ssim_luma(restored: Image8, sharp: Image8) -> float:
    """Return the 2-D SSIM of the luma, rounded to 8 bits; equals MATLAB's ``ssim`` of grey images.

    Args:
        restored: An image ``h w 3``, uint8.
        sharp: The sharp image, of the same shape.

    Returns:
        The SSIM, 1 for equal images.

    Example:
        >>> image = np.full((16, 16, 3), 9, np.uint8)
        >>> ssim_luma(image, image)
        1.0
    """
    luma = [np.rint(image @ LUMA)[..., None].astype(np.uint8) for image in (restored, sharp)]
    return ssim_2d(*luma)
