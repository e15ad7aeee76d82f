"""The table of metrics, and how each is computed."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tfmlc.backbones.pyiqa import pyiqa_metric, tensors_only
from tfmlc.errors import UserError, unknown_name
from tfmlc.io.images.tensors import to_tensor
from tfmlc.metrics.fidelity import Image, Image8, psnr, ssim_2d, ssim_3d, ssim_luma, white
from tfmlc.metrics.periodicity import PERIOD_PX, periodicity

CW_TOLERANCE = 1e-3
Metric = Callable[[Image8, Image8], float]


@dataclass(frozen=True)
class Row:
    """One metric of the table.

    Attributes:
        compute: Computes it from the restored and the sharp image, both uint8 ``h w 3``.
        higher_is_better: Whether a higher value is better.
        needs_reference: Whether it uses the sharp image.
        source: The package that computes it.
        licence: The licence of its code and weights.
        load: Loads its weights; raises UserError if they are not available.
    """

    compute: Metric
    higher_is_better: bool
    needs_reference: bool
    source: str
    licence: str
    load: Callable[[], object] = lambda: None


def _pyiqa_score(name: str, restored: Image8, sharp: Image8) -> float:
    metric, needs_reference = _pyiqa_metric(name)
    images = [_image_tensor(restored)]
    if needs_reference:
        images.append(_reference.tensor(sharp))
    try:
        with torch.inference_mode():
            return float(metric(*images))
    except cast(Any, torch.linalg).LinAlgError:  # NIQE fits a distribution, which an image of one colour lacks
        return math.nan


def _image_tensor(image: Image8) -> Tensor:
    return to_tensor(image)[None].contiguous(memory_format=torch.channels_last)


class _Reference:
    """Caches the last sharp image: as a tensor, and its features.

    If several models are scored on the same sharp image, its features are computed once. Threads can share the cache.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._image: Image8 | None = None
        self._tensor = torch.empty(0)
        self._features: dict[int, Any] = {}

    def tensor(self, sharp: Image8) -> Tensor:
        with self._lock:
            if self._image is not sharp:
                self._image, self._tensor, self._features = sharp, _image_tensor(sharp), {}
            return self._tensor

    def remember(self, network: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Wrap a network so that it runs only once on the tensor that ``tensor`` returned."""

        def run(image: Tensor) -> Any:
            if image is not self._tensor:
                return network(image)
            if id(network) not in self._features:
                self._features[id(network)] = network(image)
            return self._features[id(network)]

        return run


_reference = _Reference()


def complex_wavelet_ssim(restored: Image, sharp: Image) -> float:
    """Return the complex-wavelet SSIM, computed by pyiqa.

    Args:
        restored: An image ``h w 3``, uint8 or float in [0, 1].
        sharp: The sharp image, of the same shape and type.

    Returns:
        The score; NaN for images of one colour, which have no wavelets to compare.

    References:
        Sampat et al., "Complex Wavelet Structural Similarity", TIP 2009.
    """
    metric, _ = _pyiqa_metric("cw_ssim")
    tensors = [
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / white(image)
        for image in (restored, sharp)
    ]
    with torch.inference_mode():
        value = float(metric(*tensors))
    return value if value < 1 + CW_TOLERANCE else math.nan


@cache
def _piq_loss() -> Callable[..., Any]:
    try:
        piq = import_module("piq")  # no stubs, and no part of any extra
    except ImportError as error:
        raise UserError("metric pieapp_piq needs piq: pip install piq (https://pypi.org/project/piq)") from error
    try:
        with tensors_only():
            return piq.PieAPP(stride=27, enable_grad=False)
    except Exception as error:  # a failed download raises many types
        raise UserError(
            "metric pieapp_piq is not available: its weights cannot be downloaded; download "
            f"{PIQ_WEIGHTS} into {Path(torch.hub.get_dir()) / 'checkpoints'}"
        ) from error


def _piq_pieapp(restored: Image8, sharp: Image8) -> float:
    loss = _piq_loss()
    with torch.inference_mode():
        return float(loss(to_tensor(restored)[None], to_tensor(sharp)[None]))


PIQ_WEIGHTS = "https://github.com/photosynthesis-team/piq/releases/download/v0.5.4/PieAPPv0.1.pth"
PYIQA_WEIGHTS = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"
FILES = {  # pyiqa downloads these for a metric; cw_ssim needs none
    "lpips": "LPIPS_v0.1_alex-df73285e.pth",
    "dists": "DISTS_weights-f5e65c96.pth",
    "niqe": "niqe_modelparameters.mat",
    "brisque": "brisque_svm_weights.pth",
    "pi": "NRQM_model.mat",
    "pieapp": "PieAPPv0.1-0937b014.pth",
}


@cache
def _pyiqa_metric(name: str) -> tuple[Callable[..., Any], bool]:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        metric = pyiqa_metric(name)
    except ImportError as error:
        raise UserError(
            f"metric {name} needs the extra metrics: pip install 'tfmlc[metrics]' (https://pypi.org/project/pyiqa)"
        ) from error
    except Exception as error:  # a failed download raises many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        folder = Path(torch.hub.get_dir()) / "pyiqa"
        raise UserError(
            f"metric {name} is not available: cannot load {FILES.get(name, 'its weights')} ({reason}); "
            f"download {PYIQA_WEIGHTS}/{FILES.get(name, '')} into {folder}"
        ) from error
    warnings.filterwarnings("ignore", r"cov\(\): degrees of freedom", module="pyiqa")  # NIQE of small images
    if name == "dists":
        metric.net.to(memory_format=torch.channels_last)  # takes a fifth less time
        metric.net.forward_once = _reference.remember(metric.net.forward_once)
    return metric, metric.metric_mode == "FR"


def _by_pyiqa(name: str, higher_is_better: bool, needs_reference: bool, source: str, licence: str = "") -> Row:
    return Row(
        partial(_pyiqa_score, name),
        higher_is_better,
        needs_reference,
        f"pyiqa{source}",
        "; ".join(filter(None, (licence, NON_COMMERCIAL))),
        partial(_pyiqa_metric, name),
    )


def _by_periodicity(period_px: int) -> Row:
    def compute(restored: Image8, sharp: Image8) -> float:  # noqa: ARG001
        return periodicity(restored, period_px)

    return Row(compute, False, False, f"tfmlc, period of {period_px} px", "Apache-2.0")


NON_COMMERCIAL = "pyiqa: non-commercial"
METRICS: dict[str, Row] = {
    "psnr": Row(psnr, True, True, "tfmlc", "Apache-2.0"),
    "ssim_3d": Row(ssim_3d, True, True, "tfmlc", "Apache-2.0"),
    "ssim_2d": Row(ssim_2d, True, True, "tfmlc; equal to skimage's with a Gaussian window", "Apache-2.0"),
    "ssim_luma": Row(ssim_luma, True, True, "tfmlc", "Apache-2.0"),
    "cw_ssim": Row(complex_wavelet_ssim, True, True, "pyiqa", NON_COMMERCIAL, partial(_pyiqa_metric, "cw_ssim")),
    "lpips": _by_pyiqa("lpips", False, True, ", AlexNet", "BSD-2-Clause"),
    "dists": _by_pyiqa("dists", False, True, ", VGG16", "MIT"),
    "pieapp": _by_pyiqa("pieapp", False, True, ", fed BGR"),
    "pieapp_piq": Row(_piq_pieapp, False, True, "piq, fed RGB", "Apache-2.0", _piq_loss),
    "niqe": _by_pyiqa("niqe", False, False, ""),
    "brisque": _by_pyiqa("brisque", False, False, ""),
    "pi": _by_pyiqa("pi", False, False, ""),
    "periodicity": _by_periodicity(PERIOD_PX),  # a mesh that the network draws
    "periodicity-8": _by_periodicity(8),  # JPEG's blocks
    "periodicity-14": _by_periodicity(14),  # patches of ViT-*/14
    "periodicity-16": _by_periodicity(16),  # patches of ViT-*/16
}
"""The metrics by name."""


def check_metrics(names: Sequence[str]) -> None:
    """Raise UserError if a metric is not in the table."""
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)


def score_images(
    restored: Image8, sharp: Image8, names: Sequence[str], pool: Executor | None = None
) -> dict[str, float]:
    """Compute several metrics of one image.

    Args:
        restored: The restored image, RGB uint8 ``h w 3``.
        sharp: The sharp image, of the same size.
        names: Names in ``METRICS``.
        pool: Computes the metrics in parallel if it is given.

    Returns:
        The scores by name.

    Raises:
        UserError: If a metric is unknown or not available.

    Example:
        >>> image = np.full((32, 32, 3), 9, np.uint8)
        >>> score_images(image, image, ["psnr", "ssim_3d"])
        {'psnr': inf, 'ssim_3d': 1.0}
    """
    check_metrics(names)
    if pool is None:
        return {name: METRICS[name].compute(restored, sharp) for name in names}
    jobs = {name: pool.submit(METRICS[name].compute, restored, sharp) for name in names}
    return {name: job.result() for name, job in jobs.items()}


def unavailable(names: Sequence[str]) -> dict[str, str]:
    """Return the metrics that are not available here, with the reason; raises UserError for unknown names."""
    check_metrics(names)
    reasons: dict[str, str] = {}
    for name in names:
        try:
            METRICS[name].load()
        except UserError as error:
            reasons[name] = str(error)
    return reasons


def check_available(names: Sequence[str]) -> None:
    """Raise UserError if a metric is unknown or not available here; long work asks before it begins."""
    for reason in unavailable(names).values():
        raise UserError(reason)
