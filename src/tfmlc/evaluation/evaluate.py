"""Scoring a model, or the blurry input itself, on a folder of pairs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.folders import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.evaluation.metrics import check_metrics, score_images
from tfmlc.evaluation.provenance import provenance
from tfmlc.files import write_atomically
from tfmlc.progress import Steps

BLURRY = "blurry"


def evaluate_model(
    model: str, dataset: Path, output: Path, *, metrics: Sequence[str] = ("psnr",), device: str = "auto"
) -> str:
    """Score a model on ``dataset/blur`` against ``dataset/sharp``; return the means as a line of text.

    ``model``: a model's name, a weights file, or ``"blurry"`` to score the input as it is. Writes a JSON file with
    the mean and every image's scores, of full images rounded to 8 bits, and where they come from.
    """
    check_metrics(metrics)
    pairs = find_pairs(dataset)
    about: dict[str, Any] = {"model": model}
    restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.copy
    used = "cpu"
    if model != BLURRY:
        deblurrer = Deblurrer.load(model, device=device)
        restore, used = deblurrer, str(deblurrer.device)
        about |= {"sha256": deblurrer.network.about.sha256, "precision": deblurrer.precision}
        about |= {"tile_px": deblurrer.tile_px if deblurrer.tile_px is not None else "auto"}
    images: dict[str, dict[str, float]] = {}
    started = time.monotonic()
    with Steps("images", len(pairs)) as progress:
        for pair in pairs:
            blurry, sharp = read_pair(pair)
            images[pair.name] = score_images(restore(blurry), sharp, metrics)
            progress.advance()
    mean = {name: float(np.mean([scores[name] for scores in images.values()])) for name in metrics}
    result = {
        **about,
        "dataset": dataset.name,
        "images": len(pairs),
        "mean": mean,
        "seconds": round(time.monotonic() - started, 1),
        "provenance": provenance(used),
        "per_image": images,
    }
    write_atomically(output, (json.dumps(result, indent=1) + "\n").encode())
    scores = "  ".join(f"{name} {value:.4f}" for name, value in mean.items())
    return f"{model} on {dataset.name}, {len(pairs)} images: {scores}"
