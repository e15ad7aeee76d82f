"""Scoring models, finished pictures, or the blurry input itself, on pairs of blurry and sharp pictures."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tfmlc.data.folders import Pair, find_pairs, read_pair
from tfmlc.data.stills import to_tensor
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.deblurrer import OnDoubt
from tfmlc.errors import UserError, different_sizes
from tfmlc.evaluation.fidelity import psnr_of
from tfmlc.evaluation.metrics import score_images, unavailable
from tfmlc.evaluation.protocols import PROTOCOLS, find_protocols
from tfmlc.evaluation.provenance import provenance
from tfmlc.evaluation.tables import csv_text
from tfmlc.files import write_atomically
from tfmlc.images import Picture, find_pictures, read_rgb8, write_image
from tfmlc.networks import load_network
from tfmlc.networks.local_statistics import with_local_statistics
from tfmlc.processes import read_ahead
from tfmlc.progress import Steps
from tfmlc.weights import find_model

BLURRY, TLC = "blurry", "+tlc"
WHY_NOT_FINITE = "pictures of one colour, or equal to the sharp ones, have none"
FORMAT = 1  # of the files; one more when their meaning changes
AHEAD = 2  # images that wait to be scored
Image = NDArray[Any]
Restore = Callable[[Pair, NDArray[np.uint8], OnDoubt], Image]


def evaluate(
    models: Mapping[str, Path],
    dataset: Path,
    *,
    metrics: Sequence[str] = ("psnr",),
    protocols: Sequence[str] = (),
    device: str = "auto",
    tile_px: int | None = None,
    save: bool = False,
    published: Mapping[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """Score models on the pairs of a dataset; return what is written for each model, ``"mean"`` above all.

    ``models``: from a model's name, a weights file, a folder of pictures that another program restored, or
    ``"blurry"`` for the input as it is, to the JSON file for its scores: the mean and every image's (also as CSV), of
    full images rounded to 8 bits, and where they come from. ``MODEL+tlc`` is a model with local statistics.

    PSNR and SSIM under a protocol are called ``PROTOCOL/psnr`` and ``PROTOCOL/ssim``. Metrics whose weights cannot be
    had are left out and named. Reading, restoring and scoring overlap; several models share the reading of the
    pictures and what is computed of the sharp ones. What an interrupted run scored lies in ``FILE.partial`` and is
    not scored again. ``save`` keeps the restored pictures in ``FILE.pictures``, for a report;
    ``published`` are values of the same columns from elsewhere, which the report sets beside these.
    """
    protocols = find_protocols(protocols)
    missing = unavailable([*metrics, *(["cw_ssim"] if "tfmlc-paper-mprnet" in protocols else [])])
    kept = [name for name in metrics if name not in missing]
    protocols = [name for name in protocols if not ("cw_ssim" in missing and name == "tfmlc-paper-mprnet")]
    pairs = find_pairs(dataset)
    floats = not all(PROTOCOLS[name].rounded for name in protocols)
    sources = {model: _Source(model, pairs, device, tile_px, floats=floats) for model in models}
    records = [
        _Record(sources[model], output, dataset, kept, protocols, missing, published, save=save)
        for model, output in models.items()
    ]
    waiting = {pair.name: [record for record in records if pair.name not in record.rows] for pair in pairs}
    todo = [pair for pair in pairs if waiting[pair.name]]
    with (
        Steps("images", len(pairs)) as progress,
        ThreadPoolExecutor(1) as scorer,  # one, for they share what is computed of the sharp image
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for reason in missing.values():
            progress.say(reason)
        progress.update(len(pairs) - len(todo))
        scored: list[Future[None]] = []
        for pair, (blurry, sharp) in zip(todo, read_ahead(map(read_pair, todo), 1), strict=True):
            for record in waiting[pair.name]:
                started = time.monotonic()
                doubts: list[str] = []
                restored = record.source.restore(pair, blurry, doubts.append)
                seconds = time.monotonic() - started
                for doubt in doubts:
                    progress.say(f"{record.source.about['model']}, {pair.name}: {doubt}")
                scored.append(scorer.submit(record.add, pair.name, restored, sharp, seconds, pool))
            while len(scored) > AHEAD * len(records):
                scored.pop(0).result()
            progress.advance()
        for future in scored:
            future.result()
    return {record.source.model: record.finish([pair.name for pair in pairs]) for record in records}


class _Source:
    """Where restored images come from, and what is known about it."""

    def __init__(self, model: str, pairs: Sequence[Pair], device: str, tile_px: int | None, *, floats: bool) -> None:
        self.model, self.device = model, "cpu"
        self.about: dict[str, Any] = {"model": Path(model).name if Path(model).exists() else model}
        self.restore: Restore = lambda _, blurry, __: blurry
        if model != BLURRY and Path(model).is_dir():
            files = _finished_pictures(Path(model), pairs)
            self.restore = lambda pair, blurry, _: _finished(files[pair.name], blurry)
        elif model != BLURRY:
            network = load_network(find_model(model.removesuffix(TLC)))
            if model.endswith(TLC):
                network = with_local_statistics(network)
            deblurrer = Deblurrer(network, device=device, tile_px=tile_px)
            self.device = str(deblurrer.device)
            about = network.about
            self.about |= {"network": about.name, "sha256": about.sha256, "precision": deblurrer.precision}
            self.about["tile_px"] = "auto" if tile_px is None else tile_px

            def restore(_: Pair, blurry: NDArray[np.uint8], on_doubt: OnDoubt) -> Image:
                if not floats:
                    return deblurrer(blurry, on_doubt=on_doubt)
                restored: torch.Tensor = deblurrer(to_tensor(blurry), on_doubt=on_doubt)
                return np.ascontiguousarray(restored.permute(1, 2, 0).numpy(), np.float32)

            self.restore = restore


def _finished_pictures(folder: Path, pairs: Sequence[Pair]) -> dict[str, Path]:
    """The picture of each pair, whatever its format; raises UserError for one that is missing or too many."""
    found = {str(name.with_suffix("")): path for path, name in find_pictures(folder)}
    wanted = {str(Path(pair.name).with_suffix("")): pair for pair in pairs}
    if alone := [name for name in wanted if name not in found]:
        raise UserError(
            f"{folder} has no picture {alone[0]}, the partner of {wanted[alone[0]].sharp} ({len(alone)} such)"
        )
    if extra := [name for name in found if name not in wanted]:
        raise UserError(f"{found[extra[0]]} belongs to no pair of the dataset ({len(extra)} such): move it away")
    return {pair.name: found[name] for name, pair in wanted.items()}


def _finished(path: Path, blurry: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = read_rgb8(path)
    if image.shape != blurry.shape:
        raise different_sizes(path, image.shape, "its blurry picture", blurry.shape)
    return image


class _Record:
    """The scores of one model, image by image."""

    def __init__(
        self,
        source: _Source,
        output: Path,
        dataset: Path,
        metrics: Sequence[str],
        protocols: Sequence[str],
        missing: Mapping[str, str],
        published: Mapping[str, float] | None,
        *,
        save: bool,
    ) -> None:
        self.source, self.output = source, output
        self.pictures = pictures_of(output) if save else None
        self.metrics, self.protocols, self.missing = list(metrics), list(protocols), dict(missing)
        self.published = {} if published is None else {"published": dict(published)}
        self.partial = output.with_name(f"{output.name}.partial")
        self.rows: dict[str, dict[str, float | None]] = {}
        self.about = {**source.about, "dataset": dataset.name, "protocols": self.protocols}
        head = {**self.about, "metrics": self.metrics, "versions": provenance(source.device)["packages"]}
        if not self.partial.exists():
            write_atomically(self.partial, (json.dumps(head) + "\n").encode())
            return
        lines = self.partial.read_text(encoding="utf-8").splitlines()
        if _parsed(lines[0] if lines else "") != head:
            raise UserError(f"{self.partial} is of another model, dataset or version: remove it, or choose another -o")
        self.rows = {row["image"]: row["scores"] for row in map(_parsed, lines[1:]) if row}
        content = "\n".join([lines[0], *(self._line(name) for name in self.rows), ""])
        write_atomically(self.partial, content.encode())

    def _line(self, name: str) -> str:
        return json.dumps({"image": name, "scores": self.rows[name]})

    def add(
        self, name: str, restored: Image, sharp: NDArray[np.uint8], seconds: float, pool: ThreadPoolExecutor
    ) -> None:
        """Score an image and write its row down."""
        rounded = np.rint(restored * 255).astype(np.uint8) if restored.dtype == np.float32 else restored
        exact = restored if restored.dtype == np.float32 else np.float32(1 / 255) * restored
        jobs = {
            protocol: pool.submit(PROTOCOLS[protocol].scores, rounded, sharp)
            if PROTOCOLS[protocol].rounded
            else pool.submit(PROTOCOLS[protocol].scores, exact, np.float32(1 / 255) * sharp)
            for protocol in self.protocols
        }
        if self.pictures is not None:
            path = self.pictures / Path(name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, Picture(rounded), fast=True)
        others = score_images(rounded, sharp, self.metrics, pool)
        scores = {f"{name}/{key}": value for name, job in jobs.items() for key, value in job.result().items()} | others
        finite = {key: value if math.isfinite(value) else None for key, value in scores.items()}
        self.rows[name] = {**finite, "seconds": round(seconds, 3)}
        with self.partial.open("a", encoding="utf-8") as file:
            file.write(self._line(name) + "\n")

    def finish(self, names: Sequence[str]) -> dict[str, Any]:
        """Write the result; values that are not finite are left out of the means and counted."""
        rows = {name: self.rows[name] for name in names}
        columns = {key: [row[key] for row in rows.values()] for key in next(iter(rows.values()))}
        left_out = {key: values.count(None) for key, values in columns.items() if None in values}
        mean: dict[str, float | None] = {}
        for key, values in columns.items():
            finite = [value for value in values if value is not None]
            mean[key] = float(np.mean(finite)) if finite else None
        for protocol in self.protocols:
            error = mean.pop(f"{protocol}/mse", None)
            if PROTOCOLS[protocol].pooled and error:
                mean[f"{protocol}/psnr"] = psnr_of(error)
        seconds = mean.pop("seconds")
        result = {
            "format": FORMAT,
            **self.about,
            "images": len(rows),
            "mean": mean,
            **self.published,
            "not_finite": left_out,
            "unavailable": self.missing,
            "seconds_per_image": round(seconds or 0.0, 3),
            "provenance": provenance(self.source.device),
            "per_image": rows,
        }
        table = csv_text(["image", *columns], {name: row.values() for name, row in rows.items()})
        write_atomically(self.output.with_suffix(".csv"), table.encode())
        write_atomically(self.output, (json.dumps(result, indent=1) + "\n").encode())
        self.partial.unlink()
        return result


def pictures_of(output: Path) -> Path:
    """Where the restored pictures of a scores file lie, if they were kept."""
    return output.with_suffix(".pictures")


def _parsed(line: str) -> Any:
    """A line's content; nothing where an interruption cut it off."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
