"""The scores that ``evaluate`` wrote, read back and checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfmlc.errors import UserError
from tfmlc.evaluation.identity import read_sections, shortest_names
from tfmlc.evaluation.record import FORMAT, saved_images
from tfmlc.evaluation.sources import BLURRY, SHARP, name_in_reports
from tfmlc.evaluation.tables import higher_is_better


@dataclass
class Scores:
    """The scores of one model on one dataset, as read from a file.

    Attributes:
        path: The scores file.
        label: The model's label in tables and plots.
        dataset: The dataset's name.
        mean: The mean scores.
        per_image: The scores of each image.
        images: The folder of the restored images, if they were kept.
        info: The whole content of the file.
    """

    path: Path
    label: str
    dataset: str
    mean: dict[str, float | None]
    per_image: dict[str, dict[str, float | None]]
    images: Path | None = None
    info: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_rehearsal(self) -> bool:
        """Whether the scores are of a rehearsal, which only shows that the code runs."""
        return bool(self.info.get("rehearsal"))

    @property
    def is_input(self) -> bool:
        """Whether the scores are those of the blurry images."""
        return self.info["model"] == BLURRY and not self.info.get("restored_sha256")


def read_scores(path: Path) -> list[Scores]:
    """Read and check a scores file; returns one entry per dataset."""
    sections = read_sections(path)
    scores: list[Scores] = []
    for content in sections:
        if content.get("format") != FORMAT:
            version = content.get("format")
            raise UserError(f"{path} has format {version}, but this version needs {FORMAT}: evaluate again")
        mean: dict[str, float | None] = content["mean"]
        rows: dict[str, dict[str, float | None]] = content["per_image"]
        _check_means(path, mean, rows)
        images = saved_images(path, content["dataset"] if len(sections) > 1 else None)
        kept = content.get("images_saved", True)
        label = f"rehearsal: {content['model']}" if content.get("rehearsal") else content["model"]
        scores.append(Scores(path, label, content["dataset"], mean, rows, images if kept else None, content))
    return scores


def _check_means(path: Path, mean: dict[str, float | None], rows: dict[str, dict[str, float | None]]) -> None:
    for key, value in mean.items():
        pooled = key.endswith("/psnr") and any(f"{key.rpartition('/')[0]}/mse" in row for row in rows.values())
        there = [score for row in rows.values() if (score := row.get(key)) is not None]
        expected = float(np.mean(there)) if there else None
        same = expected is value if None in (expected, value) else math.isclose(value or 0, expected or 0, abs_tol=1e-6)
        if not same and not pooled:
            raise UserError(f"{path}: the mean of {key} does not fit the scores of its images: evaluate again")


def by_dataset(scores: Sequence[Scores]) -> dict[str, list[Scores]]:
    """Group the scores by dataset; datasets of the same name with different images are numbered."""
    kinds: dict[str, list[Scores]] = {}
    for item in scores:
        name, number = item.dataset, 1
        while name in kinds and not _same_images(kinds[name][0], item):
            number += 1
            name = f"{item.dataset} ({number})"
        kinds.setdefault(name, []).append(item)
    return kinds


def _same_images(one: Scores, other: Scores) -> bool:
    if set(one.per_image) != set(other.per_image):
        return False
    prints = [item.info.get("dataset_sha256") for item in (one, other)]
    return None in prints or prints[0] == prints[1]  # files of earlier versions have no fingerprint


def distinct(scores: list[Scores]) -> list[Scores]:
    """Give each file a unique label: the model's name, or what tells the files apart if several have the same model."""
    seen = Counter((item.dataset, item.label) for item in scores)
    alike = [item for item in scores if seen[item.dataset, item.label] > 1 or _is_taken(item.label, item)]
    paths = list(dict.fromkeys(item.path.with_suffix("").absolute() for item in alike))
    names = dict(zip(paths, shortest_names(paths), strict=True))
    for item in alike:
        path = item.path.with_suffix("").absolute()
        name = name_in_reports(path) if _is_taken(names[path], item) else names[path]
        item.label = f"rehearsal: {name}" if item.is_rehearsal else name
    return scores


def _is_taken(label: str, item: Scores) -> bool:
    """Whether a label would be that of the input or of the truth in a report, which the item is not."""
    return label in (BLURRY, SHARP) and not item.is_input


def psnr_column(scores: Sequence[Scores]) -> str:
    """Return the first PSNR column that all files have; empty if there is none."""
    shared = [key for key in scores[0].mean if all(key in item.mean for item in scores)]
    return next((key for key in shared if key.rpartition("/")[2] == "psnr"), "")


def gain(before: Scores, after: Scores, name: str, column: str) -> float:
    """Return by how much an image improved; 0 if one of the values is missing."""
    one, two = before.per_image.get(name, {}).get(column), after.per_image.get(name, {}).get(column)
    if one is None or two is None:
        return 0.0
    return two - one if higher_is_better(column) else one - two
