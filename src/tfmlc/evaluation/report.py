"""A report of scores: one HTML page, which opens offline, with tables, plots and example images."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import WHY_NOT_FINITE
from tfmlc.evaluation.identity import DataSet, read_sections
from tfmlc.evaluation.plots import LPIPS, svg_before_and_after, svg_of_models
from tfmlc.evaluation.record import FORMAT, images_of
from tfmlc.evaluation.sources import BLURRY
from tfmlc.evaluation.tables import arrow, beside_published, build_table, digits, higher_is_better
from tfmlc.io.files import write_atomically
from tfmlc.io.images import read_rgb8

TEMPLATE = Path(__file__).with_name("report.html.jinja")
WIDE_PX, CROP_PX, QUALITY = 960, 224, 88
Image8 = NDArray[np.uint8]


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
        return self.info["model"] == BLURRY


@dataclass(frozen=True)
class Example:
    """The images of one pair on the page: ``before`` and ``after`` for the slider, and a crop of each model."""

    name: str
    why: str
    before: str
    after: str
    model: str
    crops: list[tuple[str, str]]
    size: tuple[int, int]


def write_report(files: Sequence[Path], output: Path, dataset: Path | None = None) -> Path:
    """Write a report: an HTML page, and the table of each dataset as Markdown, LaTeX and CSV.

    Args:
        files: Scores files of ``evaluate``.
        output: The folder for ``report.html`` and the tables.
        dataset: The dataset that was scored. If it is given, the page shows example images. They must have been kept
            (``RestoreSettings(save=True)``).

    Returns:
        The path of the page.

    Raises:
        UserError: If a file is not a scores file, is of another version, or its means do not fit its images.
    """
    from jinja2 import Environment, StrictUndefined

    scores = _distinct([item for path in files for item in read_scores(path)])
    sections: list[dict[str, Any]] = []
    for name, inside in _by_dataset(scores).items():
        inside.sort(key=lambda item: not item.is_input)
        table = build_table(
            [(item.label, item.mean) for item in inside], [item.label for item in inside if item.is_input]
        )
        for suffix, text in ((".md", table.as_markdown()), (".tex", table.as_latex()), (".csv", table.as_csv())):
            target = output / f"{name.replace('/', '-')}{suffix}"
            if target.resolve() in {path.with_suffix(".csv").resolve() for path in files}:
                raise UserError(f"{target} holds the scores of each image: choose another folder for the report, -o")
            write_atomically(target, text.encode(errors="backslashreplace"))
        sections.append(
            {
                "name": name,
                "images": len(inside[0].per_image),
                "table": table,
                "published": published_values(inside),
                "plane": draw_plane(inside),
                "scatter": draw_scatter(inside),
                "examples": find_examples(inside, dataset) if dataset is not None else [],
                "failures": failures(inside),
                "scores": inside,
                "rehearsal": any(item.is_rehearsal for item in inside),
            }
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    page = template.render(sections=sections, arrow=arrow, digits=digits, images=dataset is not None)
    path = output / "report.html"
    write_atomically(path, page.encode(errors="backslashreplace"))
    return path


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
        images = images_of(path, content["dataset"] if len(sections) > 1 else None)
        kept = content.get("images_saved", True) and images.is_dir()
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


def _by_dataset(scores: Sequence[Scores]) -> dict[str, list[Scores]]:
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


def _distinct(scores: list[Scores]) -> list[Scores]:
    """Give each file a unique label: the model's name, or the file's name if several have the same model."""
    seen = [(item.dataset, item.label) for item in scores]
    for item in scores:
        if seen.count((item.dataset, item.label)) > 1:
            item.label = f"rehearsal: {item.path.stem}" if item.is_rehearsal else item.path.stem
    return scores


def published_values(scores: Sequence[Scores]) -> list[tuple[list[str], list[tuple[str, dict[str, list[str]]]]]]:
    """Return tables of our values beside the published ones; models with the same columns share a table."""
    tables: dict[tuple[str, ...], list[tuple[str, dict[str, list[str]]]]] = {}
    for item in scores:
        if (published := item.info.get("published")) and not item.is_rehearsal:
            rows = tables.setdefault(tuple(published), [])
            rows.append((item.label, beside_published(item.mean, published, list(published))))
    return [(list(columns), rows) for columns, rows in tables.items()]


def failures(scores: Sequence[Scores]) -> list[str]:
    """Return lines about problems: images that became worse or were not aligned, missing metrics and values."""
    lines: list[str] = []
    before = next((item for item in scores if item.is_input), None)
    if swapped := scores[0].info.get("swapped"):
        some = ", ".join(swapped[:3]) + (", ..." if len(swapped) > 3 else "")
        lines.append(f"the blurry image is sharper than the sharp one in {len(swapped)} pairs ({some})")
    for item in scores:
        column = _psnr_column([item])
        if before is not None and item is not before and column in before.mean:
            worse = [name for name in item.per_image if _gain(before, item, name, column) < 0]
            if worse:
                some = ", ".join(worse[:3]) + (" ..." if len(worse) > 3 else "")
                lines.append(f"{item.label}: lower PSNR than the blurry input on {len(worse)} images ({some})")
        aligned = item.mean.get("realblur-ecc/aligned")
        if aligned is not None and aligned < 1:
            lines.append(f"{item.label}: {round((1 - aligned) * len(item.per_image))} images could not be aligned")
        for key, count in item.info.get("not_finite", {}).items():
            where = f"{key} is not finite on {count} images, which its mean leaves out"
            lines.append(f"{item.label}: {where}: {WHY_NOT_FINITE}")
        lines += [f"{item.label}: {reason}" for reason in item.info.get("unavailable", {}).values()]
    return lines


def _psnr_column(scores: Sequence[Scores]) -> str:
    """Return the first PSNR column that all files have; empty if there is none."""
    shared = [key for key in scores[0].mean if all(key in item.mean for item in scores)]
    return next((key for key in shared if key.rpartition("/")[2] == "psnr"), "")


def _gain(before: Scores, after: Scores, name: str, column: str) -> float:
    """Return by how much an image improved; 0 if one of the values is missing."""
    one, two = before.per_image.get(name, {}).get(column), after.per_image.get(name, {}).get(column)
    if one is None or two is None:
        return 0.0
    return two - one if higher_is_better(column) else one - two


def find_examples(scores: Sequence[Scores], dataset: Path) -> list[Example]:
    """Return three examples for the last model: the image that improved most, the median and the worst one."""
    models = [(item, item.images) for item in scores if item.images is not None]
    before = next((item for item in scores if item.is_input), None)
    pairs = {pair.name: pair for pair in find_pairs(dataset)}
    if not models or not pairs.keys() >= models[-1][0].per_image.keys():
        return []
    last = models[-1][0]
    if (known := last.info.get("dataset_sha256")) and known != DataSet("", dataset, list(pairs.values())).sha256():
        return []  # the images have changed since
    column = _psnr_column([last] if before is None else [before, last])
    gains = {
        name: _gain(before, last, name, column) if before is not None else float(row.get(column) or 0.0)
        for name, row in last.per_image.items()
    }
    ranked = sorted(gains, key=lambda name: -gains[name])
    places = {len(ranked) - 1: "worst", len(ranked) // 2: "median", 0: "most improved"}
    if len(ranked) == 1:
        places = {0: "the only one"}
    examples: list[Example] = []
    for place, why in sorted(places.items()):
        name = ranked[place]
        blurry, sharp = read_pair(pairs[name])
        restored = {item.label: read_rgb8(folder / Path(name).with_suffix(".png")) for item, folder in models}
        area = changed_place(blurry, restored[last.label])
        crops = {"blurry": blurry, **{key: value for key, value in restored.items() if key != BLURRY}, "sharp": sharp}
        examples.append(
            Example(
                name,
                f"{why}: {gains[name]:+.2f} dB" if before is not None else why,
                as_data(blurry, WIDE_PX),
                as_data(restored[last.label], WIDE_PX),
                last.label,
                [(label, as_data(image[area], CROP_PX, enlarge=True)) for label, image in crops.items()],
                (int(blurry.shape[1]), int(blurry.shape[0])),
            )
        )
    return examples


def changed_place(blurry: Image8, restored: Image8) -> tuple[slice, slice]:
    """Return the square that the model changed most; its side is a quarter of the image's shorter side."""
    import cv2

    side = max(16, min(blurry.shape[:2]) // 4)
    difference = np.abs(blurry.astype(np.float32) - restored.astype(np.float32)).mean(axis=2)
    filtered = cast(Any, cv2).boxFilter(difference, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    energy: NDArray[np.float32] = np.asarray(filtered, np.float32)
    half = side // 2
    inner = energy[half : max(half + 1, energy.shape[0] - half), half : max(half + 1, energy.shape[1] - half)]
    top, left = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def as_data(image: Image8, longest_px: int, *, enlarge: bool = False) -> str:
    """Return an image as a data URL (JPEG), reduced to ``longest_px`` or, with ``enlarge``, resized to it."""
    photo = Image.fromarray(np.ascontiguousarray(image))
    factor = longest_px / max(photo.size)
    if factor < 1 or enlarge:
        size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
        photo = photo.resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    photo.save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def draw_plane(scores: Sequence[Scores]) -> str:
    """Plot LPIPS over PSNR, one point per model, as SVG; empty if fewer than two models have both."""
    column = _psnr_column(scores)
    points = [(item.label, item.mean.get(column), item.mean.get("lpips")) for item in scores]
    there = {label: (x, y) for label, x, y in points if x is not None and y is not None}
    return svg_of_models(there, f"{column} in dB (higher is better)", LPIPS) if len(there) > 1 else ""


def draw_scatter(scores: Sequence[Scores]) -> str:
    """Plot the PSNR of each image after over before, as SVG; empty without the scores of the blurry images."""
    before = next((item for item in scores if item.is_input), None)
    column = _psnr_column(scores)
    if before is None or len(scores) < 2 or not column:
        return ""
    points: dict[str, list[tuple[float, float]]] = {}
    for item in scores:
        names = [name for name in item.per_image if name in before.per_image and item is not before]
        rows = [(before.per_image[name].get(column), item.per_image[name].get(column)) for name in names]
        if there := [(x, y) for x, y in rows if x is not None and y is not None]:
            points[item.label] = there
    return svg_before_and_after(points, column) if points else ""
