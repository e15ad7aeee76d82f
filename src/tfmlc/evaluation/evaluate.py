"""Scoring models, or the blurry input itself, on pairs of blurry and sharp pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.folders import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.errors import UserError
from tfmlc.evaluation.metrics import check_metrics, score_images
from tfmlc.evaluation.provenance import provenance
from tfmlc.files import write_atomically
from tfmlc.progress import Steps

BLURRY = "blurry"


def evaluate(
    models: Mapping[str, Path], dataset: Path, *, metrics: Sequence[str] = ("psnr",), device: str = "auto"
) -> dict[str, dict[str, Any]]:
    """Score models on the pairs of a dataset; return what is written for each model, ``"mean"`` above all.

    ``models``: from a model's name, a weights file, or ``"blurry"`` for the input as it is, to the JSON file for its
    scores: the mean and every image's, of full images rounded to 8 bits, and where they come from. Several models
    share the reading of the pictures and what is computed of the sharp ones. What an interrupted run scored
    lies in ``FILE.partial`` and is not scored again.
    """
    check_metrics(metrics)
    pairs = find_pairs(dataset)
    records = [_Record(model, output, dataset, metrics, device) for model, output in models.items()]
    with Steps("images", len(pairs)) as progress, ThreadPoolExecutor(1) as reader:
        waiting = {pair.name: [record for record in records if pair.name not in record.rows] for pair in pairs}
        todo = [pair for pair in pairs if waiting[pair.name]]
        ahead = reader.submit(read_pair, todo[0]) if todo else None
        progress.update(len(pairs) - len(todo))
        for number, pair in enumerate(todo, 1):
            assert ahead is not None
            blurry, sharp = ahead.result()
            ahead = reader.submit(read_pair, todo[number]) if number < len(todo) else None
            for record in waiting[pair.name]:
                record.add(pair.name, blurry, sharp)
            progress.advance()
    return {record.model: record.finish([pair.name for pair in pairs]) for record in records}


class _Record:
    """The scores of one model, image by image."""

    def __init__(self, model: str, output: Path, dataset: Path, metrics: Sequence[str], device: str) -> None:
        self.model, self.output, self.metrics = model, output, list(metrics)
        self.restore: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = np.copy
        self.about: dict[str, Any] = {"model": model}
        self.device = "cpu"
        if model != BLURRY:
            deblurrer = Deblurrer.load(model, device=device)
            self.restore, self.device = deblurrer, str(deblurrer.device)
            tile = deblurrer.tile_px if deblurrer.tile_px is not None else "auto"
            self.about |= {"sha256": deblurrer.network.about.sha256, "precision": deblurrer.precision, "tile_px": tile}
            if Path(model).exists():
                self.about["model"] = Path(model).name
        self.about["dataset"] = dataset.name
        self.partial = output.with_name(f"{output.name}.partial")
        self.rows: dict[str, dict[str, float]] = {}
        head = {**self.about, "metrics": self.metrics, "versions": provenance(self.device)["packages"]}
        if self.partial.exists():
            lines = self.partial.read_text(encoding="utf-8").splitlines()
            if _parsed(lines[0] if lines else "") != head:
                raise UserError(
                    f"{self.partial} is of another model, dataset or version: remove it, or choose another file"
                )
            self.rows = {row["image"]: row["scores"] for row in map(_parsed, lines[1:]) if row}
            self.partial.write_text("\n".join([lines[0], *(self._line(name) for name in self.rows), ""]))
        else:
            write_atomically(self.partial, (json.dumps(head) + "\n").encode())

    def _line(self, name: str) -> str:
        return json.dumps({"image": name, "scores": self.rows[name]})

    def add(self, name: str, blurry: NDArray[np.uint8], sharp: NDArray[np.uint8]) -> None:
        started = time.monotonic()
        restored = self.restore(blurry)
        seconds = time.monotonic() - started
        self.rows[name] = {**score_images(restored, sharp, self.metrics), "seconds": round(seconds, 3)}
        with self.partial.open("a", encoding="utf-8") as file:
            file.write(self._line(name) + "\n")

    def finish(self, names: Sequence[str]) -> dict[str, Any]:
        rows = {name: self.rows[name] for name in names}
        mean = {name: float(np.mean([scores[name] for scores in rows.values()])) for name in self.metrics}
        result = {
            **self.about,
            "images": len(rows),
            "mean": mean,
            "seconds_per_image": round(float(np.mean([scores["seconds"] for scores in rows.values()])), 3),
            "provenance": provenance(self.device),
            "per_image": rows,
        }
        write_atomically(self.output, (json.dumps(result, indent=1) + "\n").encode())
        self.partial.unlink()
        return result


def _parsed(line: str) -> Any:
    """A line's content; nothing where an interruption cut it off."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
