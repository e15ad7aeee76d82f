"""Scoring protocols by name: what "PSNR" and "SSIM" mean in each, so that numbers can be compared."""

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
    """How one benchmark scores: which SSIM, images ``rounded`` to 8 bits first or not, pooled PSNR or mean.

    ``aligned`` scores replace PSNR and SSIM where the restored image is aligned first. ``used_by`` names whose numbers
    it gives, ``inference`` what they do to the image before and after.
    """

    ssim: Callable[[Image, Image], float]
    used_by: str
    aligned: Callable[[Image, Image], Scores] | None = None
    rounded: bool = True
    pooled: bool = False
    inference: str = "full image"

    def scores(self, restored: Image, sharp: Image) -> Scores:
        """``psnr`` and ``ssim``; where PSNR is pooled over a set also ``mse``, after alignment also ``aligned``."""
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


def find_protocols(names: str | Sequence[str]) -> list[str]:
    """Names of protocols, comma-separated or in a list; ``"all"`` is every one. Raises UserError for others."""
    wanted = [name for name in names.split(",") if name] if isinstance(names, str) else list(names)
    if wanted == ["all"]:
        return list(PROTOCOLS)
    for name in wanted:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    return wanted


def score(
    restored: Image, sharp: Image, *, protocol: str = "gopro-hinet", metrics: Sequence[str] = ("psnr", "ssim")
) -> Scores:
    """Scores of one restored image, uint8 RGB ``h w 3``, against the sharp one.

    ``psnr`` and ``ssim`` are the protocol's; others are rows of ``METRICS``. ``realblur-ecc`` adds ``aligned``, 1 or 0.
    Raises UserError for unknown names, images of other types, and images of unequal sizes.

    >>> import numpy as np
    >>> sharp = np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)
    >>> score(sharp, sharp, protocol="gopro-basicsr")
    {'psnr': inf, 'ssim': 1.0}
    """
    find_protocols([protocol])
    for name, image in (("restored", restored), ("sharp", sharp)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"{name} must be uint8 RGB h w 3; it is {image.dtype} {image.shape}")
    if restored.shape != sharp.shape:
        raise different_sizes("restored", restored.shape, "sharp", sharp.shape)
    found = PROTOCOLS[protocol].scores(restored, sharp) if {"psnr", "ssim"} & set(metrics) else {}
    kept = {name: value for name, value in found.items() if name in (*metrics, "aligned")}
    others = [name for name in metrics if name not in ("psnr", "ssim")]
    for name in others:
        if name not in METRICS:
            raise unknown_name("metric", name, [*METRICS, "ssim"])
    return {**kept, **score_images(restored, sharp, others)}
