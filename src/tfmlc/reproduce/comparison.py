"""The results of a study: the mean of each loss and its standard deviation over seeds, as a table and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfmlc.evaluation.identity import read_sections
from tfmlc.evaluation.plots import draw_study
from tfmlc.evaluation.sources import BLURRY
from tfmlc.evaluation.tables import markdown
from tfmlc.reproduce.plan import METRICS, START, StudyConfig, fingerprint, losses, read_ratio, sets_of, slug
from tfmlc.results import write_result


def summarize(config: StudyConfig, output: Path, work: Path) -> str:
    """Write the summary of a study to ``summary.json`` and ``study.png``.

    It has the mean and the standard deviation over seeds for each loss. Scores of other studies in ``output`` are
    ignored.

    Args:
        config: The settings of the study.
        output: The folder of the scores and the summary.
        work: The folder of the runs.

    Returns:
        The summary as a Markdown table.
    """
    named, own = losses(config), fingerprint(config)
    rows: list[dict[str, Any]] = []
    for place in sets_of(config, work):
        for name in (BLURRY, START, *named):
            pattern = f"{place}-{slug(name)}.json" if name in (BLURRY, START) else f"{place}-{slug(name)}-[0-9]*.json"
            scores = [section for path in sorted(output.glob(pattern)) for section in read_sections(path)]
            found = [content["mean"] for content in scores if content.get("study") == own]
            if not found:
                continue
            row: dict[str, Any] = {"set": place, "loss": name, "seeds": len(found)}
            for metric in METRICS:
                values = [mean[metric] for mean in found]
                row[metric] = round(float(np.mean(values)), 5)
                row[f"{metric}_spread"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
            if (path := work / "ratios" / f"{slug(name)}.json").exists():
                row["ratio"] = read_ratio(path)
            rows.append(row)
    settings = config.model_dump(mode="json", exclude={"photos", "pairs", "sharp", "only"})
    write_result(output / "summary.json", {"rows": rows, "settings": settings})
    draw_study(output / "study.png", [row for row in rows if row["loss"] != BLURRY])
    return as_table(rows)


def as_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format the rows of a summary as a Markdown table with the mean and the std over seeds."""
    digits = {"psnr": 3, "ssim_3d": 4, "ssim_2d": 4, "lpips": 4, "dists": 4, "niqe": 3, "brisque": 2}
    lines: list[list[object]] = []
    for row in rows:
        cells = [f"{row[metric]:.{digits[metric]}f}" for metric in METRICS]
        spreads = [row[f"{metric}_spread"] for metric in METRICS]
        cells = [
            cell if spread is None else f"{cell} ± {spread:.{digits[metric]}f}"
            for cell, spread, metric in zip(cells, spreads, METRICS, strict=True)
        ]
        lines.append([row["set"], row["loss"], row["seeds"], *cells])
    return markdown(["set", "loss", "seeds", *METRICS], lines, labels=2)
