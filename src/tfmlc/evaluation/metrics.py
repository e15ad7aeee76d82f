"""The scores there are: a table, and how each is computed on 8 bit images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tfmlc.data.stills import to_tensor
from tfmlc.errors import UserError, unknown_name

Image8 = NDArray[np.uint8]
Metric = Callable[[Image8, Image8], float]


def psnr(restored: Image8, sharp: Image8) -> float:
    """PSNR in dB of two uint8 ``h w 3`` images, no border cut; infinite where they are equal.

    >>> import numpy as np
    >>> round(psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)), 2)
    0.0
    """
    error = float(np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@dataclass(frozen=True)
class Row:
    """One metric: which direction is better, whether it needs the sharp image, its source and licence."""

    compute: Metric
    higher_is_better: bool
    needs_reference: bool
    source: str
    licence: str


def _pyiqa_score(name: str, restored: Image8, sharp: Image8) -> float:
    images = [to_tensor(restored)[None]]
    metric, needs_reference = _pyiqa_metric(name)
    if needs_reference:
        images.append(to_tensor(sharp)[None])
    with torch.inference_mode():
        return float(metric(*images))


@cache
def _pyiqa_metric(name: str) -> tuple[Callable[..., Any], bool]:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        import pyiqa  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise UserError(f"metric {name} needs the extra metrics: pip install 'tfmlc[metrics]'") from error
    try:
        metric = cast(Any, pyiqa).create_metric(name, device="cpu")
    except Exception as error:  # whatever a failed download raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"metric {name} is not available, its weights cannot be had: {reason}") from error
    return metric, metric.metric_mode == "FR"


METRICS: dict[str, Row] = {
    "psnr": Row(psnr, True, True, "tfmlc", "Apache-2.0"),
    "lpips": Row(partial(_pyiqa_score, "lpips"), False, True, "pyiqa, AlexNet", "BSD-2-Clause; pyiqa: non-commercial"),
    "dists": Row(partial(_pyiqa_score, "dists"), False, True, "pyiqa, VGG16", "MIT; pyiqa: non-commercial"),
    "niqe": Row(partial(_pyiqa_score, "niqe"), False, False, "pyiqa", "pyiqa: non-commercial"),
    "brisque": Row(partial(_pyiqa_score, "brisque"), False, False, "pyiqa", "pyiqa: non-commercial"),
}


def check_metrics(names: Sequence[str]) -> None:
    """Raise UserError for a metric that is not in the table."""
    for name in names:
        if name not in METRICS:
            raise unknown_name("metric", name, METRICS)


def score_images(restored: Image8, sharp: Image8, names: Sequence[str]) -> dict[str, float]:
    """Scores of one restored image, uint8 RGB ``h w 3``, against the sharp one."""
    check_metrics(names)
    return {name: METRICS[name].compute(restored, sharp) for name in names}
