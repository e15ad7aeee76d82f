"""A report of scores: one HTML page, which opens offline, with tables, plots and example images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfmlc.data.datasets.pairs import BlurKind, find_pairs
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import WHY_NOT_FINITE
from tfmlc.evaluation.gallery import build_gallery, is_scored_on
from tfmlc.evaluation.identity import DataSet
from tfmlc.evaluation.plots import LPIPS, svg_before_and_after, svg_of_models
from tfmlc.evaluation.scores import Scores, by_dataset, distinct, gain, psnr_column, read_scores
from tfmlc.evaluation.tables import Table, arrow, beside_published, build_table, digits, is_own_csv
from tfmlc.io.files import write_atomically

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
UNFIT = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]')  # what some file system does not take in a name


def write_report(files: Sequence[Path], output: Path, dataset: Path | None = None) -> Path:
    """Write a report: an HTML page, and the table of each dataset as Markdown, LaTeX and CSV.

    Args:
        files: Scores files of ``evaluate``.
        output: The folder for ``report.html`` and the tables.
        dataset: The dataset that was scored. If it is given, the page shows at most 100 of its images with the results
            of all models. The results must have been kept (``RestoreSettings(save=True)``).

    Returns:
        The path of the page.

    Raises:
        UserError: If a file is not a scores file, is of another version, or its means do not fit its images; if the
            dataset has other images than were scored; or if a table would replace the scores of each image.
    """
    files = list({path.resolve(): path for path in files}.values())  # a file that is given twice counts once
    kinds = by_dataset(distinct([item for path in files for item in read_scores(path)]))
    targets = {name: output / UNFIT.sub(_escaped, name) for name in kinds}  # none shares a name
    _check_tables([Path(f"{target}.csv") for target in targets.values()], files)
    shown = {} if dataset is None else {name: _dataset_of(inside, dataset) for name, inside in kinds.items()}
    matching = [name for name, found in shown.items() if is_scored_on(kinds[name], found)]
    if shown and not matching:
        raise UserError(f"{dataset} has other images than were scored, or they have changed: give what was scored")
    sections: list[dict[str, Any]] = []
    for name, inside in kinds.items():
        inside.sort(key=lambda item: not item.is_input)
        table = build_table(
            [(item.label, item.mean) for item in inside], [item.label for item in inside if item.is_input]
        )
        for suffix, text in ((".md", table.as_markdown()), (".tex", table.as_latex()), (".csv", table.as_csv())):
            write_atomically(Path(f"{targets[name]}{suffix}"), text.encode(errors="backslashreplace"))
        gallery = build_gallery(inside, shown[name]) if name in matching else None
        other = name in shown and name not in matching
        sections.append({**_section(name, inside, table), "gallery": gallery, "other": other})
    style, script = (_text(kind) for kind in ("css", "js"))
    page = _template().render(
        sections=sections, arrow=arrow, digits=digits, images=dataset is not None, style=style, script=script
    )
    path = output / "report.html"
    write_atomically(path, page.encode(errors="backslashreplace"))
    return path


def _escaped(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("html.jinja"))


def _text(kind: str) -> str:
    return (HERE / f"report.{kind}").read_text(encoding="utf-8")


def _dataset_of(scores: Sequence[Scores], folder: Path) -> DataSet:
    kind: BlurKind = scores[0].info.get("blur_kind", "blur")
    return DataSet("", folder, find_pairs(folder, blur=kind))


def _check_tables(tables: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise UserError if a table would replace the scores of each image, which lie beside a scores file."""
    given = {path.with_suffix(".csv").resolve() for path in files}
    for table in tables:
        if table.resolve() in given or is_own_csv(table):
            raise UserError(f"{table} holds the scores of each image: choose another folder for the report, -o")


def _section(name: str, scores: Sequence[Scores], table: Table) -> dict[str, Any]:
    return {
        "name": name,
        "images": len(scores[0].per_image),
        "table": table,
        "published": published_values(scores),
        "plane": draw_plane(scores),
        "scatter": draw_scatter(scores),
        "failures": failures(scores),
        "scores": scores,
        "rehearsal": any(item.is_rehearsal for item in scores),
    }


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
        column = psnr_column([item])
        if before is not None and item is not before and column in before.mean:
            worse = [name for name in item.per_image if gain(before, item, name, column) < 0]
            if worse:
                some = ", ".join(worse[:3]) + (" ..." if len(worse) > 3 else "")
                lines.append(f"{item.label}: lower PSNR than the blurry input in {_images(len(worse))} ({some})")
        aligned = item.mean.get("realblur-ecc/aligned")
        if aligned is not None and aligned < 1:
            lines.append(f"{item.label}: {_images(round((1 - aligned) * len(item.per_image)))} could not be aligned")
        for key, count in item.info.get("not_finite", {}).items():
            where = f"{key} is not finite in {_images(count)}, which its mean leaves out"
            lines.append(f"{item.label}: {where}: {WHY_NOT_FINITE}")
        lines += [f"{item.label}: {reason}" for reason in item.info.get("unavailable", {}).values()]
    return lines


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def draw_plane(scores: Sequence[Scores]) -> str:
    """Plot LPIPS over PSNR, one point per model, as SVG; empty if fewer than two models have both."""
    column = psnr_column(scores)
    points = [(item.label, item.mean.get(column), item.mean.get("lpips")) for item in scores]
    there = {label: (x, y) for label, x, y in points if x is not None and y is not None}
    return svg_of_models(there, f"{column} in dB (higher is better)", LPIPS) if len(there) > 1 else ""


def draw_scatter(scores: Sequence[Scores]) -> str:
    """Plot the PSNR of each image after over before, as SVG; empty without the scores of the blurry images."""
    before = next((item for item in scores if item.is_input), None)
    column = psnr_column(scores)
    if before is None or len(scores) < 2 or not column:
        return ""
    points: dict[str, list[tuple[float, float]]] = {}
    for item in scores:
        names = [name for name in item.per_image if name in before.per_image and item is not before]
        rows = [(before.per_image[name].get(column), item.per_image[name].get(column)) for name in names]
        if there := [(x, y) for x, y in rows if x is not None and y is not None]:
            points[item.label] = there
    return svg_before_and_after(points, column) if points else ""
