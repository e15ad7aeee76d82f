"""The time of scoring, compared with a plain loop over pyiqa's metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tfmlc.backbones.pyiqa import pyiqa_metric
from tfmlc.bench.measure import timed
from tfmlc.data.datasets.pairs import Pair, find_pairs
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.sources import BLURRY
from tfmlc.metrics.registry import check_available
from tfmlc.runtime.progress import Progress

PYIQA_NAMES = {name: name for name in ("psnr", "lpips", "dists", "niqe", "brisque")} | {"ssim_luma": "ssim"}


def bench_scores(dataset: Path) -> dict[str, Any]:
    """Measure the scoring of one model and of two models, compared with a plain loop.

    The models are the blurry images themselves, so only the scoring is measured. The plain loop calls pyiqa metric by
    metric on the files. Each measurement is one run.

    Args:
        dataset: The dataset.

    Returns:
        The seconds, and in ``largest_difference`` the largest difference of the scores, by metric.

    Raises:
        UserError: If a metric is not available, or the dataset cannot be read.
    """
    metrics = list(PYIQA_NAMES)
    check_available(metrics)
    pairs = find_pairs(dataset)
    plain: dict[str, list[float]] = {}
    plain_s: dict[str, float] = {}
    with Progress("plain loop", len(metrics)) as progress:
        for name in metrics:
            plain[name], plain_s[name] = timed(partial(_plain_loop, PYIQA_NAMES[name], pairs))
            progress.advance()
    rows: list[dict[str, Any]] = []
    ours: dict[str, Any] = {}
    for models in ([BLURRY], [BLURRY, str(dataset / "blur")]):
        with tempfile.TemporaryDirectory() as folder:
            files = {model: Path(folder) / f"{place}.json" for place, model in enumerate(models)}
            results, seconds = timed(partial(evaluate, files, dataset, metrics=metrics))
        ours = results[BLURRY]["per_image"]
        loop_s = len(models) * sum(plain_s.values())
        row = {"models": len(models), "plain_s": round(loop_s, 2), "seconds": round(seconds, 2)}
        rows.append({**row, "times_faster": round(loop_s / seconds, 2)})
    apart = {name: np.abs(np.array(plain[name]) - [ours[pair.name][name] for pair in pairs]).max() for name in metrics}
    return {
        "dataset": dataset.name,
        "images": len(pairs),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "plain_s": {name: round(value, 2) for name, value in plain_s.items()},
        "largest_difference": {name: float(f"{value:.2g}") for name, value in apart.items()},
    }


def _plain_loop(name: str, pairs: Sequence[Pair]) -> list[float]:
    metric = pyiqa_metric(name)
    compares = metric.metric_mode == "FR"
    with torch.no_grad():
        return [float(metric(*map(str, (pair.blurry, pair.sharp) if compares else (pair.blurry,)))) for pair in pairs]
