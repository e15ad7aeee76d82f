"""Diagnosis of losses: how well a distance ranks blur, what else it responds to, and how its gradient looks."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from tfmlc.backbones import build_backbone
from tfmlc.config import read_record
from tfmlc.data.datasets.choice import evenly
from tfmlc.data.datasets.triplet_sources import TripletSource
from tfmlc.errors import UserError
from tfmlc.evaluation.plots import draw_diagnosis
from tfmlc.evaluation.tables import markdown
from tfmlc.losses import BASELINES, BaselineLoss, FeatureMatchingLoss
from tfmlc.losses.adapter import NATIVE_PX, Size
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

MOST_TRIPLETS = 300  # more of them change no digit that is shown
PERIODS_PX = (8, 14, 16, 32)
MESH_PX = 4
TITLES = {  # title of a column: its key in a row, and its decimals
    "within": ("within", 3),
    "across": ("across", 3),
    "pairs in order": ("accuracy", 3),
    "blur/shift": ("to_shift", 2),
    "blur/noise": ("to_noise", 2),
    "blur/JPEG": ("to_jpeg", 2),
    "blur/mesh": ("to_mesh", 2),
    "periodicity": ("periodicity", 3),
}
Distance = Callable[[Tensor, Tensor], Tensor]


def named_distances(
    backbone: str, block: int, *, weights: str = "hub", adapter: Path | None = None
) -> dict[str, Distance]:
    """Return the distances to compare, by name; each maps ``(restored, sharp)``, ``b 3 h w``, to values ``b``.

    Distances whose weights are not available are left out.

    Args:
        backbone: The backbone of FMLC.
        block: The block of FMLC.
        weights: The backbone's weights, as in ``build_backbone``.
        adapter: An adapter's file. If it is given, TFMLC is compared too.
    """

    def matching(name: str, at: int, source: str, size: Size = NATIVE_PX) -> Distance:
        tower = build_backbone(name, source, last_block=at)
        return FeatureMatchingLoss(tower, block=at, reduction="none", size=size)

    makers: dict[str, Callable[[], Distance]] = {
        "default": lambda: FeatureMatchingLoss(reduction="none"),
        "MSE": lambda: lambda restored, sharp: (restored - sharp).square().flatten(1).mean(dim=1),
        "VGG-relu3_3": lambda: matching("vgg16", 2, "hub", size="native"),
        f"FMLC {backbone} {block}": lambda: matching(backbone, block, weights),
        **{name: lambda name=name: BaselineLoss(name, "none") for name in BASELINES},
    }
    if adapter is not None:
        loaded = FeatureMatchingLoss.load(adapter, weights=weights, reduction="none")
        makers[f"TFMLC {loaded.backbone.info.name} {loaded.block}"] = lambda: loaded
    found: dict[str, Distance] = {}
    with Progress("distances") as progress:
        for name, make in makers.items():
            try:
                found[name] = make()
            except UserError as error:
                progress.say(f"{name} is left out: {error}")
    return found


def diagnose(distances: Mapping[str, Distance], triplets: TripletSource) -> list[dict[str, Any]]:
    """Measure distances on triplets that were not used for training, without augmentation.

    Args:
        distances: The distances by name.
        triplets: The triplets. Of more than 300 only so many are used.

    Returns:
        One row per distance. ``within``: Spearman's rank correlation between the distance and the strength of blur,
        averaged over the triplets. ``across``: the same over all triplets at once, with the strength in px.
        ``accuracy``: the fraction of pairs of blur levels in the right order. ``to_shift``, ``to_noise``,
        ``to_jpeg`` and ``to_mesh``: the distance of the strongest blur divided by that of another distortion of equal
        PSNR, as a geometric mean. ``periodicity``: the largest fraction of the gradient's variance that repeats with a
        period of 8, 14, 16 or 32 px, 0 if nothing repeats. ``curve``: the mean distance of each level.
    """
    rows: list[dict[str, Any]] = []
    numbers = evenly(range(len(triplets.names)), MOST_TRIPLETS)
    motions = [triplets.motion_px(number) for number in numbers]
    with Progress("diagnosing", len(distances) * len(numbers)) as progress:
        for name, distance in distances.items():
            values: list[NDArray[np.float64]] = []
            ratios: dict[str, list[float]] = {"shift": [], "noise": [], "jpeg": [], "mesh": []}
            periodic: list[float] = []
            for number in numbers:
                members = triplets.plain(number)
                sharp, blurs = members[:1], members[1:]
                with torch.no_grad():
                    values.append(distance(blurs, sharp.expand_as(blurs)).double().numpy())
                    for kind, other in equal_psnr(sharp, blurs[-1:]).items():
                        ratios[kind].append(float(values[-1][-1] / max(float(distance(other, sharp)), 1e-12)))
                periodic.append(periodicity(gradient_map(distance, blurs[-1:], sharp)))
                progress.advance()
            table = np.stack(values)
            levels = table.shape[1]
            strength = np.array([[motion * level / levels for level in range(1, levels + 1)] for motion in motions])
            pairs = [(i, j) for i in range(levels) for j in range(i + 1, levels)]
            rows.append(
                {
                    "distance": name,
                    "within": round(float(np.mean([spearman(s, v) for s, v in zip(strength, table, strict=True)])), 4),
                    "across": round(spearman(strength.ravel(), table.ravel()), 4),
                    "accuracy": round(float(np.mean([table[:, i] < table[:, j] for i, j in pairs])), 4),
                    **{f"to_{k}": round(float(np.exp(np.mean(np.log(v)))), 3) for k, v in ratios.items()},
                    "periodicity": round(float(np.mean(periodic)), 4),
                    "curve": [round(float(v), 6) for v in table.mean(axis=0)],
                }
            )
    return rows


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation, 0 if all values of one side are equal.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    from scipy import stats

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    found: Any = stats.spearmanr(one, other)
    return round(float(found.statistic), 12)


def equal_psnr(sharp: Tensor, blurry: Tensor) -> dict[str, Tensor]:
    """Return the sharp image shifted, with noise, as JPEG and with a mesh of 4 px, each of the blurry image's PSNR.

    Images are ``1 3 h w``. Bisection finds the strength of each distortion.
    """
    target = float((blurry - sharp).square().mean())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(sharp.shape, generator=generator)
    cell = torch.randn(1, 1, MESH_PX, MESH_PX, generator=generator)
    height, width = sharp.shape[-2:]
    mesh = cell.repeat(1, 1, -(-height // MESH_PX), -(-width // MESH_PX))[..., :height, :width]

    def shifted(amount: float) -> Tensor:
        whole, part = int(amount), amount - int(amount)
        rolled = [sharp.roll(step, dims=3) for step in (whole, whole + 1)]
        return rolled[0] * (1 - part) + rolled[1] * part

    def noisy(amount: float) -> Tensor:
        return (sharp + amount * noise).clamp(0, 1)

    def compressed(amount: float) -> Tensor:
        buffer = io.BytesIO()
        pixels = (sharp[0].permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=max(1, 100 - round(amount)))
        decoded = np.array(Image.open(buffer))
        return torch.from_numpy(decoded).permute(2, 0, 1)[None].float() / 255

    def meshed(amount: float) -> Tensor:
        return (sharp + amount * mesh).clamp(0, 1)

    return {
        "shift": _at_error(shifted, target, sharp, 40.0),
        "noise": _at_error(noisy, target, sharp, 1.0),
        "jpeg": _at_error(compressed, target, sharp, 99.0),
        "mesh": _at_error(meshed, target, sharp, 1.0),
    }


def _at_error(distort: Callable[[float], Tensor], target: float, sharp: Tensor, most: float) -> Tensor:
    low, high = 0.0, most
    for _ in range(12):
        middle = (low + high) / 2
        if float((distort(middle) - sharp).square().mean()) < target:
            low = middle
        else:
            high = middle
    return distort(high)


def gradient_map(distance: Distance, blurry: Tensor, sharp: Tensor) -> NDArray[np.float64]:
    """Return the magnitude of the distance's gradient with respect to the blurry image: ``1 3 h w`` to ``h w``."""
    blurry = blurry.clone().requires_grad_()
    distance(blurry, sharp).sum().backward()
    gradient = blurry.grad
    assert gradient is not None
    magnitude: Tensor = gradient[0].double().square().sum(dim=0).sqrt()
    return magnitude.numpy()


def periodicity(image: NDArray[np.float64]) -> float:
    """Return the largest fraction of an image's variance that repeats with one of the periods, corrected for chance.

    >>> stripes = np.tile(np.array([1.0] + [0.0] * 15), (64, 4))
    >>> round(periodicity(stripes), 6), periodicity(np.random.default_rng(0).random((224, 224))) < 0.01
    (1.0, True)
    """
    fractions: list[float] = []
    for period in PERIODS_PX:
        height, width = (size // period * period for size in image.shape)
        cells = image[:height, :width].reshape(height // period, period, width // period, period)
        repeats = cells.shape[0] * cells.shape[2]
        explained = float(cells.mean(axis=(0, 2)).var()) / max(float(cells.var()), 1e-300)
        fractions.append((explained - 1 / repeats) / (1 - 1 / repeats))
    return max(0.0, *fractions)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the titles of what was measured, in the order of ``TITLES``, and the numbers of each row as text."""
    measured = {title: value for title, value in TITLES.items() if any(value[0] in row for row in rows)}
    cells = [[f"{row[key]:.{digits}f}" if key in row else "" for key, digits in measured.values()] for row in rows]
    return list(measured), cells


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table.

    >>> row = {"within": 1.0, "across": 0.9762, "accuracy": 1.0, "to_shift": 0.998, "to_noise": 1.345}
    >>> table = as_table([{"distance": "MSE", **row, "to_jpeg": 2.663, "to_mesh": 1.0, "periodicity": 0.0073}])
    >>> [cell.strip() for cell in table.splitlines()[-1].split("|")[2:-1]]
    ['1.000', '0.976', '1.000', '1.00', '1.34', '2.66', '1.00', '0.007']
    """
    titles, cells = columns_of(rows)
    return markdown(
        ["distance", *titles], [[row["distance"], *numbers] for row, numbers in zip(rows, cells, strict=True)]
    )


class _Open(BaseModel):
    """A part of a report that can have more entries than are read here."""

    model_config = ConfigDict(extra="allow")


class LearnedConfig(_Open):
    """The settings of an adaptation that the diagnosis needs."""

    backbone: str
    block: int


class Learned(_Open):
    """The report beside an adapter: its settings, the held-out videos and the accuracy on them."""

    config: LearnedConfig
    held_out: list[str]
    accuracy: dict[str, dict[Literal["before", "after"], float]]
    recipe: dict[str, Any] | None = None
    sha256: str = ""


def read_learned(adapter: Path) -> Learned:
    """Read the report beside an adapter; raises UserError if it is missing or not valid."""
    path = adapter.with_suffix(".json")
    return read_record(path, Learned, "the report of an adaptation", "adapt again, to another file")


def diagnose_adapter(adapter: Path, held: TripletSource, *, weights: str = "hub") -> str:
    """Compare an adapter with other distances, on the triplets that were held out of its training.

    It writes ``ADAPTER.report.json`` and ``ADAPTER.report.png``.

    Args:
        adapter: The adapter's file.
        held: The triplets.
        weights: The backbone's weights, as in ``build_backbone``.

    Returns:
        The results as a Markdown table.

    Raises:
        UserError: If a file is missing or not valid.
    """
    config = read_learned(adapter).config
    distances = named_distances(config.backbone, config.block, weights=weights, adapter=adapter)
    rows = diagnose(distances, held)
    members = held.plain(0)
    info = {"triplets": min(len(held.names), MOST_TRIPLETS), "crop_px": members.shape[-1]}
    content = {"rows": rows, **info, "config": config.model_dump(mode="json")}
    write_result(adapter.with_suffix(".report.json"), content)
    gradients = {name: gradient_map(distance, members[-1:], members[:1]) for name, distance in distances.items()}
    draw_diagnosis(adapter.with_suffix(".report.png"), rows, gradients)
    return as_table(rows)
