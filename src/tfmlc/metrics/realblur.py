"""PSNR and SSIM of the RealBlur benchmark, which first aligns the restored image to the sharp one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.metrics.fidelity import RADIUS, Image8, psnr_of, ssim_map

Float = NDArray[np.float32]
ITERATIONS, SMOOTHING_PX = 100, 5


def realblur_scores(restored: Image8, sharp: Image8) -> dict[str, float]:
    """Return PSNR and SSIM after an alignment.

    The intensities are matched by one factor. A homography between the grey images is found by maximising the
    enhanced correlation coefficient; if the search fails, the image is scored without an alignment. Both scores
    count only pixels where the warped image has content. The alignment uses float32, because OpenCV's warp gives
    other values in float64.

    Args:
        restored: The restored image, RGB uint8 ``h w 3``.
        sharp: The sharp image, of the same size.

    Returns:
        ``psnr``, ``ssim``, and ``aligned``: 1 if the search succeeded, else 0.

    References:
        Rim et al., "Real-World Blur Dataset for Learning and Benchmarking Deblurring Algorithms", ECCV 2020.
    """
    found, wanted = (np.asarray(image, np.float32) / np.float32(255) for image in (restored, sharp))
    factor = np.sum(wanted * found, dtype=np.float64) / max(float(np.sum(found * found, dtype=np.float64)), 1e-12)
    scaled = np.asarray(np.float32(factor) * found, np.float32)
    mask = np.ones_like(scaled)
    warp = find_warp(found, wanted)
    if warp is not None:
        size = scaled.shape[1], scaled.shape[0]
        inverse = cv2.WARP_INVERSE_MAP
        cubic = cv2.INTER_CUBIC | inverse
        scaled = np.asarray(cv2.warpPerspective(scaled, warp, size, flags=cubic, borderMode=cv2.BORDER_REFLECT))
        nearest = cv2.INTER_NEAREST | inverse
        mask = np.asarray(cv2.warpPerspective(mask, warp, size, flags=nearest, borderMode=cv2.BORDER_CONSTANT))
    one, two = scaled * mask, wanted * mask
    error = float(np.sum((one - two) ** 2, dtype=np.float64) / max(float(np.sum(mask, dtype=np.float64)), 1.0))
    inside = (slice(RADIUS, -RADIUS), slice(RADIUS, -RADIUS)) if min(mask.shape[:2]) > 2 * RADIUS else (slice(None),)
    weights = mask[inside].astype(np.float64)
    similar = (ssim_map(one, two) * mask)[inside]
    channels = similar.sum(axis=(0, 1)) / np.maximum(weights.sum(axis=(0, 1)), 1.0)
    return {
        "psnr": psnr_of(error),
        "ssim": float(channels.mean()),
        "aligned": float(warp is not None),
    }


def find_warp(restored: Float, sharp: Float) -> Float | None:
    """Return the homography from pixels of the sharp image to pixels of the restored one; None if the search fails."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (sharp, restored)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, 0.0)
    start = np.eye(3, dtype=np.float32)
    try:
        search: Any = cv2.findTransformECC  # its stub does not allow None as the mask
        warp = search(grey[0], grey[1], start, cv2.MOTION_HOMOGRAPHY, criteria, None, SMOOTHING_PX)[1]
    except cv2.error:  # no correlation: the image is constant, or the two are too far apart
        return None
    found = np.asarray(warp, np.float32)
    return found if bool(np.isfinite(found).all()) else None
