"""The scores there are: a table, and how each is computed on 8 bit images."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor

from tfmlc.data.stills import to_tensor
from tfmlc.errors import UserError, unknown_name
from tfmlc.evaluation.fidelity import Image8, psnr, ssim_2d, ssim_3d

Metric = Callable[[Image8, Image8], float]


@dataclass(frozen=True)
class Row:
    """One metric: which direction is better, whether it needs the sharp image, its source and licence."""

    compute: Metric
    higher_is_better: bool
    needs_reference: bool
    source: str
    licence: str


def _pyiqa_score(name: str, restored: Image8, sharp: Image8) -> float:
    metric, needs_reference = _pyiqa_metric(name)
    images = [to_tensor(restored)[None]]
    if needs_reference:
        images.append(_reference.tensor(sharp))
    with torch.inference_mode():
        return float(metric(*images))


class _Reference:
    """The sharp image scored against last: as a tensor, and what a network made of it.

    Restored images of several models are compared with one sharp image; its features are computed once.
    """

    def __init__(self) -> None:
        self._image: Image8 | None = None
        self._tensor = torch.empty(0)
        self._features: dict[int, Any] = {}

    def tensor(self, sharp: Image8) -> Tensor:
        if self._image is not sharp:
            self._image, self._tensor, self._features = sharp, to_tensor(sharp)[None], {}
        return self._tensor

    def remember(self, network: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """The network, which does not run again on the tensor that ``tensor`` gave."""

        def run(image: Tensor) -> Any:
            if image is not self._tensor:
                return network(image)
            if id(network) not in self._features:
                self._features[id(network)] = network(image)
            return self._features[id(network)]

        return run


_reference = _Reference()


@cache
def _pyiqa_metric(name: str) -> tuple[Callable[..., Any], bool]:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        import pyiqa  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise UserError(f"metric {name} needs the extra metrics: pip install 'tfmlc[metrics]'") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where it loads weights from
            metric = cast(Any, pyiqa).create_metric(name, device="cpu")
    except Exception as error:  # whatever a failed download raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"metric {name} is not available, its weights cannot be had: {reason}") from error
    if name == "dists":
        metric.net.forward_once = _reference.remember(metric.net.forward_once)
    return metric, metric.metric_mode == "FR"


METRICS: dict[str, Row] = {
    "psnr": Row(psnr, True, True, "tfmlc", "Apache-2.0"),
    "ssim_3d": Row(ssim_3d, True, True, "tfmlc", "Apache-2.0"),
    "ssim_2d": Row(ssim_2d, True, True, "tfmlc", "Apache-2.0"),
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
