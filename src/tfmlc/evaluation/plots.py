"""All plots: of a report, a sweep, a study, an adaptation and a diagnosis. They only draw given numbers."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#808080"  # readable on a white and on a black page
PSNR, LPIPS = "PSNR in dB (higher is better)", "LPIPS (lower is better)"
SHOWN_DB = 0.4
Points = Sequence[tuple[float, float]]


def svg_of_models(points: Mapping[str, tuple[float, float]], x_label: str, y_label: str) -> str:
    """Return an SVG element with one labelled point per model."""
    figure, panel = _for_a_page(x_label, y_label)
    for label, (x, y) in points.items():
        panel.scatter([x], [y], s=40, label=label)
    panel.legend(fontsize=8, labelcolor=GREY, framealpha=0)
    panel.margins(0.1)
    return _as_svg(figure)


def svg_before_and_after(points: Mapping[str, Points], column: str) -> str:
    """Return an SVG element with the score of each image after over before, per model, and the line of no change."""
    figure, panel = _for_a_page(f"blurry input, {column}", f"restored, {column}")
    for label, pairs in points.items():
        panel.scatter([x for x, _ in pairs], [y for _, y in pairs], s=14, alpha=0.8, label=label)
    ends = [value for pairs in points.values() for pair in pairs for value in pair]
    panel.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GREY, linewidth=0.8)
    panel.legend(fontsize=8, labelcolor=GREY, framealpha=0)
    return _as_svg(figure)


def draw_sweep(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Plot LPIPS over PSNR, one point per gradient ratio."""
    figure = _figure(5, 4)
    panel = figure.subplots()
    panel.plot([row["psnr"] for row in rows], [row["lpips"] for row in rows], marker="o")
    for row in rows:
        label = "no feature loss" if row["ratio"] == 0 else f"{row['ratio']:g}"
        panel.annotate(label, (row["psnr"], row["lpips"]), textcoords="offset points", xytext=(5, 5), fontsize=8)
    panel.set(xlabel=PSNR, ylabel=LPIPS, title="gradient ratio")
    _save(figure, path, dpi=120)


def draw_study(path: Path, curves: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Plot the changes of scores over the change of PSNR, a panel per metric, a curve per loss with its interval.

    A curve that loses more than ``SHOWN_DB`` of PSNR leaves the panel. Periodicity is linear up to 10 and logarithmic
    beyond.
    """
    figure = _figure(9, 8)
    panels = figure.subplots(2, -(-len(metrics) // 2), squeeze=False).ravel()
    for panel, metric in zip(panels, metrics, strict=False):
        shown = [curve for curve in curves if None not in (curve["psnr"], curve[metric])]
        for name in dict.fromkeys(curve["loss"] for curve in curves):
            points = [curve for curve in shown if curve["loss"] == name]
            x = [0.0, *(point["psnr"]["value"] for point in points)]
            y = [0.0, *(point[metric]["value"] for point in points)]
            line = panel.plot(x, y, marker="o", markersize=3, label=name)[0]
            low, high = ([0.0, *(point[metric][end] for point in points)] for end in ("low", "high"))
            panel.fill_between(x, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        seen = [point[metric][end] for point in shown for end in ("low", "high") if point["psnr"]["value"] > -SHOWN_DB]
        low, high = min([0.0, *seen]), max([0.0, *seen])
        panel.set(
            xlim=(-SHOWN_DB, SHOWN_DB / 8),
            ylim=(low - 0.05 * (high - low) - 1e-6, high + 0.05 * (high - low) + 1e-6),
            xlabel="change of PSNR against the control, dB",
            title=f"change of {metric if metric == 'periodicity' else metric.upper()} (lower is better)",
        )
        if metric == "periodicity":
            panel.set_yscale("symlog", linthresh=10)
            panel.yaxis.set_major_formatter("{x:g}")
        panel.axhline(0, color=GREY, linewidth=0.8)
    if curves:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    _save(figure, path, dpi=110)


def draw_adaptation(
    path: Path, history: Sequence[Mapping[str, float]], margins: Mapping[str, NDArray[Any]], wanted_margin: float
) -> None:
    """Plot validation loss and accuracy by epoch, and the margins of the best adapter by alignment."""
    figure = _figure(11, 3.2)
    panels = figure.subplots(1, 3)
    for panel, key, label in ((panels[0], "loss", "validation loss"), (panels[1], "accuracy", "triplet accuracy")):
        panel.plot(range(1, len(history) + 1), [row[key] for row in history])
        panel.set(xlabel="epoch", ylabel=label)
    for kind, values in margins.items():
        panels[2].hist(values, bins=20, alpha=0.6, label=f"{kind} augmentation")
    panels[2].axvline(wanted_margin, color="black", linewidth=0.8)
    panels[2].set(xlabel="d(sharp, strong) - d(sharp, weak)", ylabel="held-out triplets")
    panels[2].legend()
    _save(figure, path, dpi=120)


def draw_diagnosis(path: Path, rows: Sequence[Mapping[str, Any]], gradients: Mapping[str, NDArray[np.float64]]) -> None:
    """Plot growth with blur, rank correlations, and the gradient of each distance on one image."""
    columns = max(len(rows), 3)
    figure = _figure(2.4 * columns, 6.4)
    grid = figure.add_gridspec(2, columns)
    curves, bars = figure.add_subplot(grid[0, : columns // 2]), figure.add_subplot(grid[0, columns // 2 :])
    for row in rows:
        curve = np.array(row["curve"]) / row["curve"][-1]
        curves.plot(range(1, len(curve) + 1), curve, marker="o", label=row["distance"])
    curves.set_xticks(range(1, len(rows[0]["curve"]) + 1))
    curves.set(xlabel="blur level", ylabel="distance relative to the strongest blur")
    curves.legend(fontsize=7)
    names = [row["distance"] for row in rows]
    places = np.arange(len(rows))
    for offset, key in ((-0.2, "within"), (0.2, "across")):
        bars.bar(places + offset, [row[key] for row in rows], 0.4, label=f"{key} images")
    bars.set_xticks(places, names, rotation=20, ha="right", fontsize=7)
    bars.set(ylabel="rank correlation of distance and strength", ylim=(None, 1.25))
    bars.legend(fontsize=7, ncols=2, loc="upper right")
    for column, (name, gradient) in enumerate(gradients.items()):
        panel = figure.add_subplot(grid[1, column])
        panel.imshow(gradient, cmap="magma", vmax=float(np.quantile(gradient, 0.995)))
        panel.set_title(f"gradient of {name}", fontsize=7)
        panel.axis("off")
    _save(figure, path, dpi=110)


YTICKS = tuple(digit * 10**power for power in range(6) for digit in (1, 2, 5))


def draw_growth(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Plot time and memory over the number of what grows, on logarithmic axes; a column per kind."""
    kinds = list(dict.fromkeys(row["what"] for row in rows))
    figure = _figure(3.2 * len(kinds), 5.5)
    panels = figure.subplots(2, len(kinds), squeeze=False, sharey="row")
    for column, kind in enumerate(kinds):
        some = [row for row in rows if row["what"] == kind]
        named = {"seconds": "seconds", "peak_mib": "peak MiB"}
        for (key, label), panel in zip(named.items(), panels[:, column], strict=True):
            panel.plot([row["number"] for row in some], [row[key] for row in some], marker="o")
            panel.set(xscale="log", yscale="log", xlabel=kind, ylabel=label if column == 0 else None)
            numbers = [row["number"] for row in some]
            panel.set_xticks(numbers, [f"{number:g}" for number in numbers])
            panel.set_yticks(YTICKS, [f"{number:g}" for number in YTICKS])
            panel.tick_params(axis="x", rotation=45)
            panel.minorticks_off()
            panel.set_ylim(0.8 * min(row[key] for row in rows), 1.25 * max(row[key] for row in rows))
            panel.grid(visible=True, alpha=0.3)
    _save(figure, path, dpi=120)


def draw_curves(path: Path, candidates: Mapping[str, Mapping[str, Any]]) -> None:
    """Plot the PSNR of held-out images over the hours of training, a curve per candidate, without the first stage."""
    figure = _figure(7, 4.5)
    panel = figure.subplots()
    for name, found in candidates.items():
        rows = [row for row in found["rows"] if row["stage"] != "first"]
        hours = [row["step"] * found["seconds_per_step"] / 3600 for row in rows]
        panel.plot(hours, [row["psnr"] for row in rows], marker="o", markersize=3, label=name)
    panel.set(xlabel="hours of one core", ylabel=PSNR)
    panel.grid(visible=True, alpha=0.3)
    panel.legend(fontsize=8)
    _save(figure, path, dpi=120)


def _save(figure: Figure, path: Path, dpi: int) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    write_atomically(path, content.getvalue())


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("plots need matplotlib: pip install 'tfmlc[train]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _for_a_page(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = _figure(5.2, 3.8)
    panel = figure.subplots()
    panel.set_facecolor("none")
    panel.set_xlabel(x_label, color=GREY)
    panel.set_ylabel(y_label, color=GREY)
    panel.tick_params(colors=GREY)
    for spine in panel.spines.values():
        spine.set_color(GREY)
    return figure, panel


def _as_svg(figure: Figure) -> str:
    """Return the SVG element, without the XML header."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]
