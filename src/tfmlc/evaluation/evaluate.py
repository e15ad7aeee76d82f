"""Scoring of models, of folders of restored images and of the blurry input, on pairs of blurry and sharp images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tfmlc.errors import UserError
from tfmlc.evaluation.identity import DataSet, check_output, find_datasets, is_gopro
from tfmlc.evaluation.record import Place, Record, Scoring, images_of
from tfmlc.evaluation.scoring import score_on_cluster, score_pairs
from tfmlc.evaluation.sources import BLURRY, DEFAULTS, RestoreSettings, Source, find_source, name_in_reports
from tfmlc.evaluation.tables import csv_text
from tfmlc.io.files import remove_leftovers, write_atomically
from tfmlc.io.locks import file_lock
from tfmlc.metrics.protocols import PROTOCOLS, find_protocols
from tfmlc.metrics.registry import unavailable
from tfmlc.runtime.progress import Progress

WHY_NOT_FINITE = "it is not defined for images of one colour or equal to the sharp ones"
Result = dict[str, Any]


def evaluate(
    models: Mapping[str, Path],
    dataset: Path | Sequence[Path],
    *,
    metrics: Sequence[str] = ("psnr",),
    protocols: Sequence[str] = (),
    restoring: RestoreSettings = DEFAULTS,
    overwrite: bool = False,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Result]:
    """Score models on pairs of blurry and sharp images.

    Each model gets a JSON file with the mean scores, the scores of each image (also as CSV) and their provenance.
    Metrics that are not available are left out, and the file says why. An interrupted run keeps its scores in
    ``FILE.partial``; the next run continues from there.

    Args:
        models: Maps each model to its JSON file. A model is a name, a weights file, a folder of images that another
            program restored, or ``"blurry"`` for the blurry images themselves. ``MODEL+tlc`` uses local statistics.
        dataset: One or several datasets. With several, the file has the scores of each under ``"sets"``.
        metrics: Names of metrics.
        protocols: Names of protocols. Their scores are called ``PROTOCOL/psnr`` and ``PROTOCOL/ssim``.
        restoring: Device, precision, tiles, kind of blur, whether the results are kept, and who restores and scores.
        overwrite: Whether to replace scores of another model or dataset.
        more: More entries for the file.

    Returns:
        The content of each file, by model.

    Raises:
        UserError: If a name is unknown, a dataset cannot be read, a file holds scores of another model or dataset,
            or another run writes it.
    """
    protocols = find_protocols(protocols)
    missing = unavailable([*metrics, *(["cw_ssim"] if "tfmlc-paper-mprnet" in protocols else [])])
    kept = [name for name in metrics if name not in missing]
    protocols = [name for name in protocols if not ("cw_ssim" in missing and name == "tfmlc-paper-mprnet")]
    scoring = Scoring(kept, protocols, missing, restoring.save)
    datasets = find_datasets([dataset] if isinstance(dataset, Path) else dataset, restoring.blur_kind)
    _check_distinct(models)

    floats = not all(PROTOCOLS[name].rounded for name in protocols)
    sources = {model: _sources(model, datasets, restoring, floats=floats) for model in models}
    for model, output in models.items():
        check_output(output, [source.info for source in sources[model]], datasets, overwrite=overwrite)
    with ExitStack() as held:
        for output in models.values():
            held.enter_context(file_lock(output))
            remove_leftovers(images_of(output), below=True)
        return _score_all(models, datasets, sources, scoring, more or {}, restoring)


def _score_all(
    models: Mapping[str, Path],
    datasets: Sequence[DataSet],
    sources: Mapping[str, Sequence[Source]],
    scoring: Scoring,
    more: Mapping[str, Any],
    restoring: RestoreSettings,
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
            score = score_pairs if restoring.cluster is None else partial(score_on_cluster, restoring.cluster)
            score(list(made.values()), found.pairs, progress)
            for model, record in made.items():
                kind = restoring.blur_kind if is_gopro(found.folder) else "blur"
                results[model][found.label] = record.result(blur_kind=kind, **more)
            _tell_swapped(found, results[next(iter(models))][found.label]["swapped"], progress.say)
        records += made.values()
    written = {model: _write(output, list(results[model].items())) for model, output in models.items()}
    for record in records:
        record.place.partial.unlink(missing_ok=True)
    return written


def _sources(model: str, datasets: Sequence[DataSet], restoring: RestoreSettings, *, floats: bool) -> list[Source]:
    """Return the source of a model for each dataset; a folder of restored images has a subfolder per dataset."""
    if len(datasets) == 1 or model == BLURRY or not Path(model).is_dir():
        return [find_source(model, datasets[0].pairs, restoring, floats=floats)] * len(datasets)
    name = name_in_reports(Path(model).resolve())
    found = [find_source(str(Path(model) / one.label), one.pairs, restoring, floats=floats) for one in datasets]
    return [replace(source, info=source.info | {"model": name}) for source in found]


def is_scored(path: Path, model: str, folder: Path) -> bool:
    """Whether ``path`` holds the scores of a model on a dataset; raises UserError if it holds other scores."""
    if not path.exists():
        return False
    datasets = find_datasets([folder])
    check_output(path, [find_source(model, datasets[0].pairs).info], datasets, overwrite=False)
    return True


def _check_distinct(models: Mapping[str, Path]) -> None:
    taken: dict[Path, str] = {}
    for model, output in models.items():
        if (other := taken.setdefault(output.resolve(), model)) != model:
            raise UserError(f"the scores of {other} and {model} would both go to {output}: choose two files")


def _tell_swapped(dataset: DataSet, swapped: Sequence[str], tell: Callable[[str], None]) -> None:
    if swapped:
        some = ", ".join(swapped[:3]) + (", ..." if len(swapped) > 3 else "")
        why = "are they swapped?" if 2 * len(swapped) > len(dataset.pairs) else "they are noisy or swapped"
        tell(
            f"{dataset.label}: the blurry image is sharper than the sharp one in {len(swapped)} of "
            f"{len(dataset.pairs)} pairs ({some}): {why}"
        )


def _write(output: Path, sections: Sequence[tuple[str, Result]]) -> Result:
    """Write a scores file and its CSV; with several sections the CSV has a column for the dataset."""
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
