"""The scores of a run as text: one row per metric, one column per dataset and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfmlc.evaluation.evaluate import WHY_NOT_FINITE
from tfmlc.evaluation.tables import digits

Sections = list[tuple[str, str, Mapping[str, Any]]]  # model, dataset, its scores


def sections_of(results: Mapping[str, Mapping[str, Any]]) -> Sections:
    """Return the sections of the result of ``evaluate``, one per dataset and model."""
    found: Sections = []
    for model, content in results.items():
        found += [(model, section["dataset"], section) for section in content.get("sets", {"": content}).values()]
    return sorted(found, key=lambda item: [name for _, name, _ in found].index(item[1]))  # by dataset


def as_text(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return one table of all datasets and models, and a line per score that is not finite on some images."""
    sections = sections_of(results)
    sets = list(dict.fromkeys(name for _, name, _ in sections))
    columns = list(dict.fromkeys(column for _, _, section in sections for column in section["mean"]))
    rows = [("", [_title(model, name, len(results), len(sets)) for model, name, _ in sections])]
    rows.append(("", [f"{section['images']} images" for _, _, section in sections]))
    rows += [(column, [_cell(column, section["mean"]) for _, _, section in sections]) for column in columns]
    widths = [max(10, *(len(texts[place]) for _, texts in rows)) for place in range(len(sections))]
    width = max(20, *(len(column) for column in columns))
    lines = [
        f"  {name:<{width}}  " + "  ".join(f"{text:>{size}}" for text, size in zip(texts, widths, strict=True))
        for name, texts in rows
    ]
    notes = [
        f"{model}, {name}: {metric} is not finite on {count} images, which its mean leaves out: {WHY_NOT_FINITE}"
        for model, name, section in sections
        for metric, count in section["not_finite"].items()
    ]
    return "\n".join([f"{', '.join(results)} on {', '.join(sets)}", *lines, *notes])


def _title(model: str, name: str, models: int, sets: int) -> str:
    """Return the title of a column: what differs from the other columns."""
    return f"{name}: {model}" if models > 1 and sets > 1 else model if models > 1 else name


def _cell(column: str, mean: Mapping[str, float | None]) -> str:
    if column not in mean:
        return ""
    value = mean[column]
    return "not finite" if value is None else f"{value:.{digits(column)}f}"


def unavailable_in(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the reasons why requested metrics are missing, each once."""
    reasons = [reason for _, _, section in sections_of(results) for reason in section["unavailable"].values()]
    return list(dict.fromkeys(reasons))
