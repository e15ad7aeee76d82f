"""Identity of scores: models and datasets are compared by content, not by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tfmlc.data.datasets.pairs import BlurKind, Pair, check_stems, find_pairs, layout_of
from tfmlc.errors import UserError
from tfmlc.evaluation.tables import is_own_csv
from tfmlc.io.files import file_sha256, read_json
from tfmlc.typed import is_record

MODEL_KEYS = ("sha256", "restored_sha256", "local_statistics")


def pair_sha256(pair: Pair) -> str:
    """Return the fingerprint of the content of both files of a pair."""
    return _joined(file_sha256(path) for path in (pair.blurry, pair.sharp))


def dataset_sha256(pairs: Mapping[str, str]) -> str:
    """Return the fingerprint of a dataset, from the names and fingerprints of its pairs."""
    return _joined(f"{name} {pairs[name]}" for name in sorted(pairs))


def files_sha256(folder: Path, files: Iterable[Path]) -> str:
    """Return the fingerprint of files: their names in the folder, and their content."""
    return _joined(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in sorted(files))


def _joined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


@dataclass(frozen=True)
class DataSet:
    """One dataset of a run.

    Attributes:
        label: A name that differs from those of the other datasets of the run.
        folder: Its folder.
        pairs: Its pairs of blurry and sharp images.
    """

    label: str
    folder: Path
    pairs: list[Pair]

    def sha256(self) -> str:
        """Return the fingerprint of its content; reads every file."""
        return dataset_sha256({pair.name: pair_sha256(pair) for pair in self.pairs})


def find_datasets(folders: Sequence[Path], blur_kind: BlurKind = "blur") -> list[DataSet]:
    """Find the datasets in folders; folders of the same name get labels with as much of their path as is needed.

    Raises UserError if a folder is given twice, two pairs have the same stem, ``find_pairs`` finds no pairs, or
    ``blur_kind`` is GoPro's alone and no set is GoPro's.
    """
    places = [folder.resolve() for folder in folders]
    for number, place in enumerate(places):
        if place in places[:number]:
            raise UserError(f"{folders[number]} is given twice")
    labels = shortest_names(
        [place.absolute() if place.name not in ("", "..") else place.resolve() for place in folders]
    )
    datasets = [
        DataSet(label, folder, find_pairs(folder, blur=blur_kind))
        for label, folder in zip(labels, folders, strict=True)
    ]
    for dataset in datasets:
        check_stems(dataset.pairs)
    if blur_kind != "blur" and not any(is_gopro(dataset.folder) for dataset in datasets):
        raise UserError(f"only GoPro has {blur_kind}, and no set has its layout: leave out --blur-kind")
    return datasets


def is_gopro(folder: Path) -> bool:
    """Whether a dataset has GoPro's layout, with both kinds of blur."""
    return layout_of(folder) == "GoPro"


def shortest_names(paths: Sequence[Path]) -> list[str]:
    """Return as much of the end of each path as tells it from the others.

    >>> shortest_names([Path("/runs/a/scores"), Path("/runs/b/scores"), Path("/runs/b/other")])
    ['a/scores', 'b/scores', 'other']
    """
    names: list[str] = []
    for path in paths:
        parts = 1
        while parts < len(path.parts) and sum(other.parts[-parts:] == path.parts[-parts:] for other in paths) > 1:
            parts += 1
        names.append("/".join(path.parts[-parts:]).strip("/"))
    return names


class Section(BaseModel):
    """What a scores file holds per dataset; the first four entries are required."""

    model: str
    dataset: str
    mean: dict[str, float | None]
    per_image: dict[str, dict[str, float | None]]
    sha256: str | None = None
    blur_kind: BlurKind = "blur"
    dataset_sha256: str | None = None
    not_finite: dict[str, int] = {}
    unavailable: dict[str, str] = {}
    swapped: list[str] = []
    published: dict[str, float] = {}
    provenance: dict[str, Any] = {}


def read_sections(path: Path) -> list[dict[str, Any]]:
    """Return what a scores file holds for each dataset; raises UserError if it is not a scores file."""
    content: object = read_json(path)
    whole = content if is_record(content) else {}
    sets: object = whole.get("sets")
    sections = list(sets.values()) if is_record(sets) else [whole]
    for section in sections:
        try:
            Section.model_validate(section, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])[:100]
            reason = f"{where}: {first['msg']}"
            raise UserError(f"{path} is not a scores file of tfmlc evaluate ({reason})") from error
    return sections


def check_output(
    path: Path, infos: Sequence[Mapping[str, Any]], datasets: Sequence[DataSet], *, overwrite: bool
) -> None:
    """Raise UserError if the scores of a model must not be written to ``path``.

    A file can be replaced if it holds scores of the same model on the same datasets, or with ``overwrite`` any
    scores. ``infos`` describe the model, one per dataset, as they will be written.
    """
    if path.suffix.lower() != ".json":
        raise UserError(f"the name of a scores file must end in .json, unlike {path} (a .csv is written beside it)")
    table = path.with_suffix(".csv")
    if table.exists() and not (path.exists() or is_own_csv(table)):
        raise UserError(f"{table} would be replaced by the scores of each image: choose another -o")
    if not path.exists():
        return
    sections = read_sections(path)
    if overwrite:
        return
    for number, section in enumerate(sections):
        if not _same_model(section, infos[min(number, len(infos) - 1)]):
            raise UserError(f"{path} holds scores of {_named(section)}: choose another -o, or use --overwrite")
    if len(sections) != len(datasets) or not all(map(_same_dataset, sections, datasets)):
        held = ", ".join(str(section["dataset"]) for section in sections)
        raise UserError(f"{path} holds scores on other images ({held}): choose another -o, or use --overwrite")


def _same_model(section: Mapping[str, Any], info: Mapping[str, Any]) -> bool:
    ours, theirs = ([content.get(key) or None for key in MODEL_KEYS] for content in (info, section))
    return ours == theirs if any(ours) or any(theirs) else section["model"] == info["model"]


def _same_dataset(section: Mapping[str, Any], dataset: DataSet) -> bool:
    if "dataset_sha256" in section:
        return section["dataset_sha256"] == dataset.sha256()
    names = {pair.name for pair in dataset.pairs}  # files of earlier versions have no fingerprint
    return section["dataset"] == dataset.label and set(section["per_image"]) == names


def _named(section: Mapping[str, Any]) -> str:
    weights = str(section.get("sha256") or "")[:12]
    return f"{section['model']} (weights {weights}...)" if weights else str(section["model"])
