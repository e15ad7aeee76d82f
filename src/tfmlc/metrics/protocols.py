"""Protocols: each defines how a benchmark computes PSNR and SSIM, so that numbers can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError, different_sizes, unknown_name
from tfmlc.metrics.fidelity import mean_squared_error, psnr_of, ssim_2d, ssim_3d
from tfmlc.metrics.realblur import realblur_scores
from tfmlc.metrics.registry import METRICS, complex_wavelet_ssim, score_images

Image = NDArray[Any]
Scores = dict[str, float]


@dataclass(frozen=True)
class Protocol:
    """How a benchmark computes PSNR and SSIM.

    Attributes:
        ssim: The variant of SSIM.
        used_by: Who reports such numbers.
        aligned: Computes PSNR and SSIM after an alignment. If it is given, it replaces ``ssim`` and the plain PSNR.
        rounded: Whether images are rounded to 8 bits before they are scored.
        pooled: Whether the PSNR of a dataset is that of its mean squared error, and not the mean PSNR.
        inference: How the authors run their networks; ``RestoreSettings(official=True)`` does so.

    Example:
        >>> PROTOCOLS["gopro-hinet"].used_by
        'HINet, NAFNet, TLC'
    """

    ssim: Callable[[Image, Image], float]
    used_by: str
    aligned: Callable[[Image, Image], Scores] | None = None
    rounded: bool = True
    pooled: bool = False
    inference: str = "full image"

    def scores(self, restored: Image, sharp: Image) -> Scores:
        """Return ``psnr`` and ``ssim`` of one image, with a pooled PSNR also ``mse``, with an alignment ``aligned``."""
        if self.aligned is not None:
            return self.aligned(restored, sharp)
        error = mean_squared_error(restored, sharp)
        pooled = {"mse": error} if self.pooled else {}
        return {"psnr": psnr_of(error), **pooled, "ssim": self.ssim(restored, sharp)}


HINET_TILES = "HINet: 256 px tiles, uniform mean"
PROTOCOLS: dict[str, Protocol] = {
    "gopro-hinet": Protocol(ssim_3d, "HINet, NAFNet, TLC", inference=HINET_TILES),
    "gopro-basicsr": Protocol(ssim_2d, "BasicSR, KAIR, mmagic"),
    "realblur-ecc": Protocol(ssim_2d, "RealBlur", realblur_scores, inference="padded to a multiple of 8"),
    "tfmlc-paper-mprnet": Protocol(complex_wavelet_ssim, "ICIP 2023, MPRNet's rows", rounded=False, pooled=True),
    "tfmlc-paper-hinet": Protocol(
        ssim_3d, "ICIP 2023, HINet's rows", rounded=False, pooled=True, inference=HINET_TILES
    ),
}
"""The protocols by name; numbers of different protocols are not comparable."""


def find_protocols(names: str | Sequence[str]) -> list[str]:
    """Return a list of protocol names, from a list or a comma-separated text; ``"all"`` means all protocols.

    Raises UserError for unknown names.
    """
    wanted = comma_separated(names) if isinstance(names, str) else list(names)
    if wanted == ["all"]:
        return list(PROTOCOLS)
    for name in wanted:
        _find_protocol(name)
    return wanted


def _find_protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def comma_separated(text: str) -> list[str]:
    """Return the names in a text, without the spaces around them.

    >>> comma_separated("lpips, dists,")
    ['lpips', 'dists']
    """
    return [name for part in text.split(",") if (name := part.strip())]


def score(
    restored: Image, sharp: Image, *, protocol: str = "gopro-hinet", metrics: Sequence[str] = ("psnr", "ssim")
) -> Scores:
    """Score one restored image against the sharp image.

    Args:
        restored: The restored image, RGB uint8 ``h w 3``.
        sharp: The sharp image, of the same size.
        protocol: The protocol that defines ``"psnr"`` and ``"ssim"``, a name in ``PROTOCOLS``.
        metrics: The scores to compute: ``"psnr"``, ``"ssim"`` and names in ``tfmlc.metrics.registry.METRICS``, for
            example ``"lpips"`` or ``"periodicity"``.

    Returns:
        The scores by name. The protocol ``"realblur-ecc"`` adds ``aligned``: 1 if the alignment succeeded, else 0.

    Raises:
        UserError: If a name is unknown, a metric is not available, or the images are not uint8 ``h w 3`` of one size.

    Example:
        >>> sharp = np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)
        >>> score(sharp, sharp, protocol="gopro-basicsr")
        {'psnr': inf, 'ssim': 1.0}
    """
    defined = _find_protocol(protocol)
    for name, image in (("restored", restored), ("sharp", sharp)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"{name} must be uint8 RGB h w 3; it is {image.dtype} {image.shape}")
    if restored.shape != sharp.shape:
        raise different_sizes("restored", restored.shape, "sharp", sharp.shape)
    found = defined.scores(restored, sharp) if {"psnr", "ssim"} & set(metrics) else {}
    kept = {name: value for name, value in found.items() if name in (*metrics, "aligned")}
    others = [name for name in metrics if name not in ("psnr", "ssim")]
    for name in others:
        if name not in METRICS:
            raise unknown_name("metric", name, [*METRICS, "ssim"])
    return {**kept, **score_images(restored, sharp, others)}
