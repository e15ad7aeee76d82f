"""Scoring protocols by name: what "PSNR" and "SSIM" mean in each, so that numbers can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError, unknown_name
from tfmlc.evaluation.fidelity import mean_squared_error, psnr, ssim_2d, ssim_3d
from tfmlc.evaluation.metrics import METRICS, complex_wavelet_ssim
from tfmlc.evaluation.realblur import realblur_scores

Image = NDArray[Any]
Scores = dict[str, float]


@dataclass(frozen=True)
class Protocol:
    """How one benchmark scores: ``scores`` of an image, ``rounded`` to 8 bits first or not, pooled PSNR or mean.

    ``used_by`` names whose numbers it gives, ``inference`` what they do to the picture before and after.
    """

    scores: Callable[[Image, Image], Scores]
    ssim: str
    used_by: str
    rounded: bool = True
    pooled: bool = False
    inference: str = "full image"


def _hinet(restored: Image, sharp: Image) -> Scores:
    return {"psnr": psnr(restored, sharp), "ssim": ssim_3d(restored, sharp)}


def _basicsr(restored: Image, sharp: Image) -> Scores:
    return {"psnr": psnr(restored, sharp), "ssim": ssim_2d(restored, sharp)}


def _paper_mprnet(restored: Image, sharp: Image) -> Scores:
    error = mean_squared_error(restored, sharp)
    return {"psnr": psnr(restored, sharp), "mse": error, "ssim": complex_wavelet_ssim(restored, sharp)}


def _paper_hinet(restored: Image, sharp: Image) -> Scores:
    error = mean_squared_error(restored, sharp)
    return {"psnr": psnr(restored, sharp), "mse": error, "ssim": ssim_3d(restored, sharp)}


PROTOCOLS: dict[str, Protocol] = {
    "gopro-hinet": Protocol(
        _hinet, "3-D Gaussian, 11 x 11 x 11", "HINet, NAFNet, TLC", inference="HINet: 256 px tiles, uniform mean"
    ),
    "gopro-basicsr": Protocol(_basicsr, "2-D Gaussian per channel, valid region", "BasicSR, KAIR, mmagic"),
    "realblur-ecc": Protocol(
        realblur_scores, "Gaussian, masked, after alignment", "RealBlur", inference="padded to a multiple of 8"
    ),
    "tfmlc-paper-mprnet": Protocol(
        _paper_mprnet, "complex wavelet", "ICIP 2023, MPRNet's rows", rounded=False, pooled=True
    ),
    "tfmlc-paper-hinet": Protocol(
        _paper_hinet,
        "3-D Gaussian",
        "ICIP 2023, HINet's rows",
        rounded=False,
        pooled=True,
        inference="HINet: 256 px tiles, uniform mean",
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
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (restored, sharp))
        raise UserError(f"restored and sharp differ in size: {sizes}")
    found = PROTOCOLS[protocol].scores(restored, sharp) if {"psnr", "ssim"} & set(metrics) else {}
    kept = {name: value for name, value in found.items() if name in (*metrics, "aligned")}
    others = [name for name in metrics if name not in ("psnr", "ssim")]
    for name in others:
        if name not in METRICS:
            raise unknown_name("metric", name, [*METRICS, "ssim"])
    return {**kept, **{name: METRICS[name].compute(restored, sharp) for name in others}}
