"""The comparison of losses at equal PSNR, with intervals over images and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.evaluation.identity import read_sections
from tfmlc.evaluation.plots import draw_study
from tfmlc.evaluation.tables import markdown
from tfmlc.reproduce.plan import (
    CONTROL,
    FEATURES,
    METRICS,
    OWN_METRIC,
    SHIPPED,
    StudyConfig,
    fingerprint,
    label_of,
    losses,
    sets_of,
)
from tfmlc.results import without_folders, write_result

LOST_DB = (0.05, 0.1, 0.2)
RESAMPLES = 1000
INTERVAL = (5, 95)  # percentiles
JUDGES = ("lpips", "dists", "niqe", "periodicity")
DIGITS = {"psnr": 3, "ssim_3d": 4, "lpips": 4, "dists": 4, "niqe": 3, "periodicity": 2}
Array = NDArray[np.float64]


def summarize(config: StudyConfig, output: Path, adapters: Mapping[str, Any]) -> str:
    """Write the summary of a study to ``summary.json`` and ``study.png``.

    For each loss it has the change of each score against the control at each gradient ratio, and interpolated at equal
    PSNR, both with 90 % intervals over images and seeds, and the differences of some losses at equal PSNR. Scores of
    other studies in ``output`` are ignored.

    Args:
        config: The settings of the study.
        output: The folder of the scores and the summary.
        adapters: The accuracies of the adapters, by name.

    Returns:
        The comparison at equal PSNR as a Markdown table.
    """
    rng, curves, rows = np.random.default_rng(0), list[dict[str, Any]](), list[dict[str, Any]]()
    scores = _Scores(output, fingerprint(config))
    finished = {name: _finished(config, scores, name) for name in losses(config) if name != CONTROL}
    changes = {name: _changes(config, scores, name, seeds) for name, seeds in finished.items() if seeds}
    for name, by_set in changes.items():
        resampled = {place: _resample([values], rng) for place, values in by_set.items()}
        resampled["all sets"] = _resample(genuine_as_one(config, by_set), rng)
        for place, draws in resampled.items():
            for number, ratio in enumerate(config.ratios, start=1):
                curves.append({"set": place, "loss": name, "ratio": ratio, **_intervals(draws[:, number])})
            for lost in LOST_DB:
                rows.append({"set": place, "loss": name, "lost_db": lost, **_intervals(at_psnr(draws, lost))})
    differences: list[dict[str, Any]] = []
    for name, other in _compared(changes):
        if common := [seed for seed in finished[name] if seed in finished[other]]:
            differences += _differences(config, scores, (name, other), common)
    for row in (*curves, *rows, *differences):
        for name in (row["loss"], row.get("against", "")):
            if own := OWN_METRIC.get(name):
                row[own] = None
    settings = config.model_dump(mode="json", exclude={"photos", "genuine", "pairs", "sharp", "only"})
    settings["weights"] = without_folders(config.weights)
    levels = {place: mean for place in sets_of(config) if (mean := _control_mean(config, scores, place))}
    compared = {"curves": curves, "rows": rows, "differences": differences}
    content = {"control": levels, "adapters": adapters, **compared, "settings": settings}
    write_result(output / "summary.json", content)
    draw_study(output / "study.png", [curve for curve in curves if curve["set"] == "all sets"], JUDGES)
    return as_table(rows)


class _Scores:
    """The scores of the runs of one study; each file is read once."""

    def __init__(self, output: Path, study: str) -> None:
        self.output, self.study = output, study
        self._read: dict[Path, Array | None] = {}

    def of(self, place: str, label: str) -> Array | None:
        """Return the scores of a run on a set, ``images metrics``, or None if this study has not scored it."""
        path = self.output / f"{place}-{label}.json"
        if path not in self._read:
            self._read[path] = _read_scores(path, self.study) if path.exists() else None
        return self._read[path]


def _read_scores(path: Path, study: str) -> Array | None:
    section = read_sections(path)[0]
    if section.get("study") != study:
        return None
    return np.array(
        [[row[metric] for metric in METRICS] for _, row in sorted(section["per_image"].items())], np.float64
    )


def _finished(config: StudyConfig, scores: _Scores, name: str) -> list[int]:
    """Return the seeds with which a loss is scored on every set."""

    def is_there(seed: int) -> bool:
        labels = _labels(config, name, seed)
        return all(scores.of(place, label) is not None for place in sets_of(config) for label in labels)

    return [seed for seed in config.seeds if is_there(seed)]


def _labels(config: StudyConfig, name: str, seed: int) -> list[str]:
    return [label_of(CONTROL, 0, seed), *(label_of(name, ratio, seed) for ratio in config.ratios)]


def _changes(config: StudyConfig, scores: _Scores, name: str, seeds: Iterable[int]) -> dict[str, Array]:
    """Return the changes of the scores against the control of the same seed, by set.

    They are ``seeds ratios images metrics``. The first ratio is 0, the control.
    """
    found: dict[str, Array] = {}
    for place in sets_of(config):
        of_seeds = [[scores.of(place, label) for label in _labels(config, name, seed)] for seed in seeds]
        array = np.array(of_seeds, np.float64)
        found[place] = array - array[:, :1]
    return found


def _compared(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the losses that are compared with another: adapted with plain features, the one that ships with others."""
    adapted = [(name, FEATURES) for name in names if name.startswith("TFMLC")]
    others = [(SHIPPED, name) for name in names if not name.startswith("TFMLC") and name != SHIPPED]
    return [pair for pair in (*adapted, *others) if set(pair) <= set(names)]


def _differences(
    config: StudyConfig, scores: _Scores, pair: tuple[str, str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the differences of two losses on all sets at equal PSNR; images and seeds are drawn alike for both."""
    draws = [
        _resample(genuine_as_one(config, _changes(config, scores, loss, seeds)), np.random.default_rng(0))
        for loss in pair
    ]
    return [
        {"loss": pair[0], "against": pair[1], "lost_db": lost, "seeds": len(seeds)}
        | _intervals(at_psnr(draws[0], lost) - at_psnr(draws[1], lost))
        for lost in LOST_DB
    ]


def _control_mean(config: StudyConfig, scores: _Scores, place: str) -> dict[str, float] | None:
    found = [
        _mean(value, axis=(0,))
        for seed in config.seeds
        if (value := scores.of(place, label_of(CONTROL, 0, seed))) is not None
    ]
    if not found:
        return None
    means = dict(zip(METRICS, np.mean(found, axis=0), strict=True))
    return {metric: round(float(value), 4) for metric, value in means.items() if np.isfinite(value)}


def _mean(values: Array, axis: tuple[int, ...]) -> Array:
    """Return the mean of the values that are finite, NaN where none is: niqe is not finite on a flat image."""
    finite = np.isfinite(values)
    count = finite.sum(axis=axis)
    return np.where(finite, values, 0).sum(axis=axis) / np.where(count, count, np.nan)


def genuine_as_one(config: StudyConfig, by_set: Mapping[str, Array]) -> list[Array]:
    """Return the changes of all genuine pairs as one set, so that a set of one pair does not weigh more."""
    genuine = [by_set[place] for place in config.pairs]
    return [*([np.concatenate(genuine, axis=2)] if genuine else []), *(by_set[place] for place in config.sharp)]


def _resample(sets: Sequence[Array], rng: np.random.Generator) -> Array:
    """Draw seeds, the same for all sets, and images with replacement; return the means, ``draws ratios metrics``.

    Each set has the same weight. The first draw is the sample itself. Values that are not finite do not count.
    """
    means = [np.mean([_mean(changes, axis=(0, 2)) for changes in sets], axis=0)]
    for _ in range(RESAMPLES):
        seeds = rng.integers(len(sets[0]), size=len(sets[0]))
        drawn = [_drawn(changes[seeds], rng) for changes in sets]
        means.append(np.mean(drawn, axis=0))
    return np.stack(means)


def _drawn(changes: Array, rng: np.random.Generator) -> Array:
    """Draw images with replacement; return the mean changes over seeds and images, ``ratios metrics``."""
    number = changes.shape[2]
    return _mean(changes[:, :, rng.integers(number, size=number)], axis=(0, 2))


def at_psnr(curves: Array, lost_db: float) -> Array:
    """Interpolate the scores of losses where they have lost ``lost_db`` of PSNR.

    Args:
        curves: Changes against the control, ``n ratios metrics``: the weakest ratio first, PSNR the first metric.
        lost_db: The PSNR lost against the control, in dB.

    Returns:
        The changes ``n metrics``, NaN where a loss never loses so much.

    Example:
        >>> curve = np.array([[[0.0, 0.0], [-0.1, -0.02], [-0.3, -0.03]]])
        >>> at_psnr(curve, 0.2).round(3).tolist()
        [[-0.2, -0.025]]
    """
    answers = np.full((len(curves), curves.shape[-1]), np.nan)
    for curve, answer in zip(curves, answers, strict=True):
        for before, after in pairwise(curve):
            if before[0] >= -lost_db > after[0]:
                answer[:] = before + (after - before) * (before[0] + lost_db) / (before[0] - after[0])
                break
    return answers


def _intervals(draws: Array) -> dict[str, dict[str, float] | None]:
    """Return the sample's value and the interval of each metric; None if the sample has no value."""
    answer: dict[str, dict[str, float] | None] = {}
    for metric, values in zip(METRICS, draws.T, strict=True):
        if not np.isfinite(values[0]):
            answer[metric] = None
            continue
        low, high = np.nanpercentile(values[1:], INTERVAL)
        named = {"value": float(values[0]), "low": float(low), "high": float(high)}
        answer[metric] = {key: round(number, 5) for key, number in named.items()}
    return answer


def as_table(
    rows: Iterable[Mapping[str, Any]],
    metrics: Sequence[str] = JUDGES,
    titles: Sequence[str] = ("set", "PSNR", "loss"),
) -> str:
    """Format a comparison at equal PSNR as a Markdown table: the change against the control and its interval."""
    lines: list[list[object]] = []
    for row in rows:
        cells = ["" if row[metric] is None else _cell(row[metric], DIGITS[metric]) for metric in metrics]
        lines.append([row["set"], f"-{row['lost_db']:g} dB", row["loss"], *cells])
    return markdown([*titles, *metrics], lines, labels=3)


def _cell(found: Mapping[str, float], digits: int) -> str:
    return f"{found['value']:+.{digits}f} ({found['low']:+.{digits}f} to {found['high']:+.{digits}f})"
