"""Scoring models, finished images, or the blurry input itself, on pairs of blurry and sharp images."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.datasets.pairs import Pair, detail, read_pair
from tfmlc.errors import UserError
from tfmlc.evaluation.identity import DataSet, check_output, find_datasets, pair_sha256
from tfmlc.evaluation.record import Place, Record, Scoring
from tfmlc.evaluation.sources import BLURRY, Source, find_source
from tfmlc.evaluation.tables import csv_text
from tfmlc.io.files import write_atomically
from tfmlc.io.locks import file_lock
from tfmlc.metrics.protocols import PROTOCOLS, find_protocols
from tfmlc.metrics.registry import unavailable
from tfmlc.runtime.device import Precision
from tfmlc.runtime.parallel import read_ahead
from tfmlc.runtime.progress import Progress

WHY_NOT_FINITE = "images of one colour, or equal to the sharp ones, have none"
AHEAD = 2  # images that wait to be scored
Result = dict[str, Any]


def evaluate(
    models: Mapping[str, Path],
    dataset: Path | Sequence[Path],
    *,
    metrics: Sequence[str] = ("psnr",),
    protocols: Sequence[str] = (),
    device: str = "auto",
    precision: Precision = "auto",
    tile_px: int | None = None,
    save: bool = False,
    overwrite: bool = False,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Result]:
    """Score models on the pairs of a dataset; return what is written for each model, ``"mean"`` above all.

    ``models``: from a model's name, a weights file, a folder of images that another program restored, or
    ``"blurry"`` for the input as it is, to the JSON file for its scores: the mean and every image's (also as CSV), of
    full images rounded to 8 bits, and where they come from. ``MODEL+tlc`` is a model with local statistics. Of several
    datasets a file holds the same for each, under ``"sets"``.

    PSNR and SSIM under a protocol are called ``PROTOCOL/psnr`` and ``PROTOCOL/ssim``. Metrics whose weights cannot be
    had are left out and named. Reading, restoring and scoring overlap; several models share the reading of the
    images and what is computed of the sharp ones. What an interrupted run scored lies in ``FILE.partial`` and is
    not scored again. ``save`` keeps the restored images in ``FILE.images``, for a report; ``more`` is written along.
    Raises UserError where an output holds scores of another model or dataset, unless ``overwrite`` is set,
    and while another run writes it.
    """
    protocols = find_protocols(protocols)
    missing = unavailable([*metrics, *(["cw_ssim"] if "tfmlc-paper-mprnet" in protocols else [])])
    kept = [name for name in metrics if name not in missing]
    protocols = [name for name in protocols if not ("cw_ssim" in missing and name == "tfmlc-paper-mprnet")]
    scoring = Scoring(kept, protocols, missing, save)
    datasets = find_datasets([dataset] if isinstance(dataset, Path) else dataset)
    _check_distinct(models)

    floats = not all(PROTOCOLS[name].rounded for name in protocols)
    settings: dict[str, Any] = {"device": device, "precision": precision, "tile_px": tile_px, "floats": floats}
    sources = {model: _sources(model, datasets, settings) for model in models}
    for model, output in models.items():
        check_output(output, [source.info for source in sources[model]], datasets, overwrite=overwrite)
    with ExitStack() as held:
        for output in models.values():
            held.enter_context(file_lock(output))
        return _score_all(models, datasets, sources, scoring, more or {})


def _score_all(
    models: Mapping[str, Path],
    datasets: Sequence[DataSet],
    sources: Mapping[str, Sequence[Source]],
    scoring: Scoring,
    more: Mapping[str, Any],
) -> dict[str, Result]:
    results: dict[str, dict[str, Result]] = {model: {} for model in models}
    records: list[Record] = []
    for number, found in enumerate(datasets):
        section = found.label if len(datasets) > 1 else None
        with Progress(found.label if section else "images", len(found.pairs)) as progress:
            for reason in scoring.missing.values() if number == 0 else ():
                progress.say(reason)
            made = {
                model: Record(sources[model][number], Place(output, section), found, scoring, progress.say)
                for model, output in models.items()
            }
            _score(list(made.values()), found.pairs, progress)
            for model, record in made.items():
                results[model][found.label] = record.result(**more)
            _tell_swapped(found, results[next(iter(models))][found.label]["swapped"], progress.say)
        records += made.values()
    written = {model: _write(output, list(results[model].items())) for model, output in models.items()}
    for record in records:
        record.place.partial.unlink(missing_ok=True)
    return written


def _sources(model: str, datasets: Sequence[DataSet], settings: Mapping[str, Any]) -> list[Source]:
    """The source of a model for each dataset; a folder of restored images has a folder of each dataset's label."""
    if len(datasets) == 1 or model == BLURRY or not Path(model).is_dir():
        return [find_source(model, datasets[0].pairs, **settings)] * len(datasets)
    name = Path(model).resolve().name
    found = [find_source(str(Path(model) / one.label), one.pairs, **settings) for one in datasets]
    return [replace(source, info=source.info | {"model": name}) for source in found]


def is_scored(path: Path, model: str, folder: Path) -> bool:
    """Whether ``path`` holds the scores of a model on a dataset; raises UserError where it holds those of others."""
    if not path.exists():
        return False
    datasets = find_datasets([folder])
    check_output(path, [find_source(model, datasets[0].pairs).info], datasets, overwrite=False)
    return True


def _check_distinct(models: Mapping[str, Path]) -> None:
    taken: dict[Path, str] = {}
    for model, output in models.items():
        if (other := taken.setdefault(output.resolve(), model)) != model:
            raise UserError(f"the scores of {other} and of {model} would both go to {output}: choose two files")


def _score(records: Sequence[Record], pairs: Sequence[Pair], progress: Progress) -> None:
    """Score what is not scored yet, in order."""
    waiting = {pair.name: [record for record in records if pair.name not in record.rows] for pair in pairs}
    todo = [pair for pair in pairs if waiting[pair.name]]
    progress.update(len(pairs) - len(todo))
    with (
        ThreadPoolExecutor(1) as scorer,  # one, for they share what is computed of the sharp image
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        scored: list[Future[None]] = []
        for pair, blurry, sharp, info in read_ahead(_read(todo), 1):
            for record in waiting[pair.name]:
                started = time.monotonic()
                warnings: list[str] = []
                restored = record.source.restore(pair, blurry, warnings.append)
                row = {**info, "seconds": round(time.monotonic() - started, 3)}
                for warning in warnings:
                    progress.say(f"{record.source.info['model']}, {pair.name}: {warning}")
                scored.append(scorer.submit(record.add, pair.name, restored, sharp, pool, row))
            while len(scored) > AHEAD * len(records):
                scored.pop(0).result()
            progress.advance()
        for future in scored:
            future.result()


def _read(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, NDArray[np.uint8], NDArray[np.uint8], dict[str, Any]]]:
    """Each pair with its images, its fingerprint, and whether its sides look swapped."""
    for pair in pairs:
        blurry, sharp = read_pair(pair)
        yield pair, blurry, sharp, {"pair": pair_sha256(pair), "swapped": detail(blurry) > detail(sharp)}


def _tell_swapped(dataset: DataSet, swapped: Sequence[str], tell: Callable[[str], None]) -> None:
    if swapped:
        some = ", ".join(swapped[:3]) + (", ..." if len(swapped) > 3 else "")
        why = "are the sides swapped?" if 2 * len(swapped) > len(dataset.pairs) else "noise, or swapped sides"
        tell(
            f"{dataset.label}: blurry is sharper than sharp in {len(swapped)} of {len(dataset.pairs)} pairs ({some}): "
            f"{why}"
        )


def _write(output: Path, sections: Sequence[tuple[str, Result]]) -> Result:
    """Write a scores file and its CSV; with several sections the CSV says which dataset an image is of."""
    first = sections[0][1]
    several = len(sections) > 1
    columns = list(next(iter(first["per_image"].values())))
    rows = [
        ([label] if several else []) + [name, *(row[column] for column in columns)]
        for label, result in sections
        for name, row in result["per_image"].items()
    ]
    table = csv_text([*(["set"] if several else []), "image", *columns], rows)
    write_atomically(output.with_suffix(".csv"), table.encode(errors="backslashreplace"))
    content = {"format": first["format"], "model": first["model"], "sets": dict(sections)} if several else first
    write_atomically(output, (json.dumps(content, indent=1) + "\n").encode())
    return content
