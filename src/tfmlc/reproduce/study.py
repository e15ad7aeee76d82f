"""The controlled study: the same network, data and steps under each loss, and what comes of it.

From sharp photos to a table in six steps, each of which ends in files and is not repeated when they are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tfmlc.backbones import RANDOM
from tfmlc.config import Config, checked
from tfmlc.data.blur import BlurConfig
from tfmlc.data.films import FilmConfig
from tfmlc.data.synthesis import synthesize
from tfmlc.errors import UserError, unknown_name
from tfmlc.evaluation.evaluate import BLURRY, evaluate
from tfmlc.evaluation.provenance import write_result
from tfmlc.files import write_atomically
from tfmlc.images import find_pictures
from tfmlc.progress import Steps
from tfmlc.training.adapt import AdaptConfig, adapt
from tfmlc.training.finetune import TrainConfig, finetune
from tfmlc.training.state import last_scores

METRICS = ("psnr", "ssim_3d", "ssim_2d", "lpips", "dists", "niqe", "brisque")
CHOSEN_BY = ("psnr", "lpips", "dists")
MOST_PSNR_LOST = 0.3  # dB; a weight that costs more is not chosen
CONTROL, START = "control", "start"


class StudyConfig(Config):
    """What is compared, on what, for how long."""

    photos: list[Path] = Field(min_length=1, description="sharp photos and folders of them, to train on")
    pairs: dict[str, Path] = Field(default_factory=dict, description="sets to score on: name and folder of pairs")
    sharp: dict[str, Path] = Field(default_factory=dict, description="the same of sharp pictures, blurred by seed 0")
    start: str = Field(default="default-psnr", description="a model that was trained on pixels alone")
    backbone: str = Field(default="dinov2-vit-s14", description="of FMLC and TFMLC; the paper's is clip-vit-b16")
    block: int = 3
    weights: str = Field(default="hub", description="of the backbone: hub, a file, or random")
    hidden: int = Field(default=256, description="width of the adapters")
    steps: int = Field(default=300, ge=1)
    trial_steps: int = Field(default=100, ge=1, description="of the runs from which weights are chosen")
    batch_size: int = 4
    patch_px: int = 256
    learning_rate: float = 2e-4
    shares: list[float] = Field(default=[0.3, 1.0, 3.0], description="of the gradient, tried on validation photos")
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    repeated: list[str] = Field(default=[CONTROL, "FMLC", "TFMLC"], description="losses that every seed is run for")
    only: list[str] = Field(default_factory=list[str], description="losses to run now; none: all")
    per_photo: int = Field(default=3, description="blurry versions of each photo")
    triplets_per_photo: int = 4
    adapter_epochs: int = 60
    validation_share: float = Field(default=0.15, gt=0, lt=1, description="of the photos")


def losses(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Settings of each loss that is compared, by name."""
    features = _features(config)
    return {
        CONTROL: {"kind": "origin"},
        "FMLC": {"kind": "fmlc", **features},
        "TFMLC": {"kind": "tfmlc", **features, "adapter": "token-shared"},
        "TFMLC independent": {"kind": "tfmlc", **features, "adapter": "token-independent"},
        "TFMLC untrained": {"kind": "tfmlc", **features, "adapter": RANDOM, "adapter_mode": "token"},
        "TFMLC flatten": {"kind": "tfmlc", **features, "adapter": "flatten-shared"},
        "VGG-relu3_3": {"kind": "fmlc", "backbone": "vgg16", "block": 2},
        "TFMLC VGG16": {"kind": "tfmlc", "adapter": "vgg16-shared"},
        "LPIPS": {"kind": "LPIPS-vgg"},
    }


def _features(config: StudyConfig) -> dict[str, Any]:
    return {"backbone": config.backbone, "block": config.block, "weights": config.weights}


def adapters(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Settings of each adapter that the losses need, by name."""
    common = {"hidden": config.hidden, "epochs": config.adapter_epochs, "views": 2, "validation_share": 0.15}
    main = {**common, **_features(config), "batch_size": 64}
    return {
        "token-shared": {**main, "mode": "token", "alignment": "shared"},
        "token-independent": {**main, "mode": "token", "alignment": "independent"},
        "flatten-shared": {**main, "mode": "flatten", "alignment": "shared"},
        "vgg16-shared": {**common, "backbone": "vgg16", "block": 2, "mode": "token", "batch_size": 32, "views": 1},
    }


def study(config: StudyConfig, output: Path, work: Path) -> str:
    """Run what is left of the study; scores go to ``output``, everything else to ``work``; returns the table.

    Raises UserError where photos, sets or weights are missing. A run that was stopped goes on where it was; with
    ``only``, several processes can share the work.
    """
    named = losses(config)
    for name in [*config.only, *config.repeated]:
        if name not in named:
            raise unknown_name("loss", name, named)
    chosen = {name: named[name] for name in config.only or named}
    prepare(config, work)
    for name in {loss["adapter"] for loss in chosen.values() if "adapter" in loss} - {RANDOM}:
        _make_adapter(config, work, name)
    runs: dict[str, str] = {BLURRY: BLURRY, START: config.start} if CONTROL in chosen else {}
    with Steps("study") as progress:
        for seed in config.seeds:
            for name, loss in chosen.items():
                if seed == config.seeds[0] or name in config.repeated:
                    label = f"{slug(name)}-{seed}"
                    progress.say(f"{name}, seed {seed}")
                    share = choose_share(config, work, name, loss) if name != CONTROL else None
                    recipe = recipe_of(config, work, loss, share, seed=seed, steps=config.steps)
                    runs[label] = str(finetune(recipe, work / "runs" / label))
            _score(config, output, work, runs)
    return summarize(config, output, work)


def prepare(config: StudyConfig, work: Path) -> None:
    """Split the photos, and make pairs, triplets and blurry evaluation pictures of them."""
    photos = [photo for path in config.photos for photo, _ in find_pictures(path)]
    held = set(
        np.random.default_rng(0).permutation(len(photos))[: max(1, round(config.validation_share * len(photos)))]
    )
    parts = {
        "training": [photo for place, photo in enumerate(photos) if place not in held],
        "validation": [photo for place, photo in enumerate(photos) if place in held],
    }
    for seed, (part, chosen) in enumerate(parts.items()):
        many = config.per_photo if part == "training" else 1
        _made("pairs", chosen, work / part, per_photo=many, seed=10 + seed)
    film = FilmConfig(levels=2)
    _made("triplets", parts["training"], work / "triplets", per_photo=config.triplets_per_photo, film=film, seed=12)
    for name, folder in config.sharp.items():
        _made("pairs", [folder], work / "sets" / name, seed=0)


def _made(kind: Any, photos: Sequence[Path], folder: Path, **settings: Any) -> None:
    if (folder / "complete").exists():
        return
    summary = synthesize(kind, photos, folder, pictures="photos", blur=BlurConfig(), **settings)
    if summary.errors:
        raise UserError(summary.errors[0])
    write_atomically(folder / "complete", b"")


def _make_adapter(config: StudyConfig, work: Path, name: str) -> None:
    path = work / "adapters" / f"{name}.safetensors"
    if not path.exists():
        adapt(work / "triplets", path, checked(AdaptConfig, adapters(config)[name]))


def recipe_of(
    config: StudyConfig, work: Path, loss: Mapping[str, Any], share: float | None, *, seed: int, steps: int
) -> TrainConfig:
    """The run of one loss: all but the loss is the same for every one."""
    chosen = dict(loss)
    if chosen.get("adapter", RANDOM) != RANDOM:
        chosen["adapter"] = str(work / "adapters" / f"{chosen['adapter']}.safetensors")
    if share is not None:
        chosen |= {"weight": "auto", "gradient_share": share}
    values: dict[str, Any] = {
        "network": {"name": "hinet", "start": config.start},
        "data": {
            "pairs": work / "training",
            "patch_px": config.patch_px,
            "crop_px": config.patch_px + config.patch_px // 4,
            "crop_step_px": config.patch_px + config.patch_px // 4,
            "crops": work / "crops",
        },
        "loss": chosen,
        "loop": {
            "steps": steps,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "final_learning_rate": config.learning_rate / 100,
            "warmup_steps": min(20, steps // 5),
            "gradient_clip": 1e6,
            "ema_decay": 0.98,
            "workers": 0,
            "trackers": [],
            "save_every_steps": 100,
            "seed": seed,
        },
        "validation": {
            "pairs": work / "validation",
            "every_steps": steps,
            "images": 16,
            "crop_px": 384,
            "metrics": list(CHOSEN_BY),
        },
    }
    return checked(TrainConfig, values)


def choose_share(config: StudyConfig, work: Path, name: str, loss: Mapping[str, Any]) -> float:
    """The gradient's share at which short runs score best on validation photos, by LPIPS and DISTS.

    Both are taken relative to the control's. Shares that cost more than 0.3 dB are left out, unless all do.
    """
    path = work / "shares" / f"{slug(name)}.json"
    if not path.exists():
        control = _trial(config, work, CONTROL, losses(config)[CONTROL], None)
        rows: list[dict[str, float]] = []
        for share in config.shares:
            scores = _trial(config, work, name, loss, share)
            relative = (scores["lpips"] / control["lpips"] + scores["dists"] / control["dists"]) / 2
            rows.append({"share": share, **scores, "relative": relative, "lost_db": control["psnr"] - scores["psnr"]})
        allowed = [row for row in rows if row["lost_db"] <= MOST_PSNR_LOST] or rows[:1]
        best = min(allowed, key=lambda row: row["relative"])
        content = {"share": best["share"], "control": control, "trials": rows}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return float(json.loads(path.read_text(encoding="utf-8"))["share"])


def _trial(
    config: StudyConfig, work: Path, name: str, loss: Mapping[str, Any], share: float | None
) -> dict[str, float]:
    run = work / "trials" / (slug(name) if share is None else f"{slug(name)}-{share:g}")
    finetune(recipe_of(config, work, loss, share, seed=100, steps=config.trial_steps), run)
    scores = last_scores(run)
    return {metric: scores[metric] for metric in CHOSEN_BY}


def _sets(config: StudyConfig, work: Path) -> dict[str, Path]:
    return {**config.pairs, **{name: work / "sets" / name for name in config.sharp}}


def _score(config: StudyConfig, output: Path, work: Path, runs: Mapping[str, str]) -> None:
    for name, folder in _sets(config, work).items():
        files = {model: output / f"{name}-{label}.json" for label, model in runs.items()}
        left = {model: path for model, path in files.items() if not path.exists()}
        if left:
            evaluate(left, folder, metrics=METRICS)


def summarize(config: StudyConfig, output: Path, work: Path) -> str:
    """Write ``summary.json`` (each loss's mean over seeds and spread) and ``study.png``; return a Markdown table."""
    named = losses(config)
    rows: list[dict[str, Any]] = []
    for place in _sets(config, work):
        for name in (BLURRY, START, *named):
            pattern = f"{place}-{slug(name)}.json" if name in (BLURRY, START) else f"{place}-{slug(name)}-[0-9]*.json"
            found = [json.loads(path.read_text(encoding="utf-8"))["mean"] for path in sorted(output.glob(pattern))]
            if not found:
                continue
            row: dict[str, Any] = {"set": place, "loss": name, "seeds": len(found)}
            for metric in METRICS:
                values = [mean[metric] for mean in found]
                row[metric] = round(float(np.mean(values)), 5)
                row[f"{metric}_spread"] = round(float(np.std(values, ddof=1)), 5) if len(values) > 1 else None
            if (path := work / "shares" / f"{slug(name)}.json").exists():
                row["share"] = json.loads(path.read_text(encoding="utf-8"))["share"]
            rows.append(row)
    settings = config.model_dump(mode="json", exclude={"photos", "pairs", "sharp", "only"})
    write_result(output / "summary.json", {"rows": rows, "settings": settings})
    draw(rows, output / "study.png")
    return as_table(rows)


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot LPIPS over PSNR, a panel a set, a point a loss, with the spread over seeds."""
    from matplotlib.figure import Figure

    places = list(dict.fromkeys(row["set"] for row in rows))
    if not places:
        return
    figure = Figure(figsize=(4.2 * len(places), 4.4), layout="constrained")
    panels = figure.subplots(1, len(places), squeeze=False)[0]
    for panel, place in zip(panels, places, strict=True):
        for row in rows:
            if row["set"] == place and row["loss"] != BLURRY:
                spread = {"xerr": row["psnr_spread"], "yerr": row["lpips_spread"]}
                panel.errorbar(row["psnr"], row["lpips"], **spread, marker="o", capsize=2, label=row["loss"])
        panel.set(title=place, xlabel="PSNR, dB (right is better)")
    panels[0].set_ylabel("LPIPS (down is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
    figure.savefig(path, dpi=110)


def as_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The summary as a Markdown table, mean and spread over seeds."""
    digits = {"psnr": 3, "ssim_3d": 4, "ssim_2d": 4, "lpips": 4, "dists": 4, "niqe": 3, "brisque": 2}
    lines = ["| set | loss | seeds | " + " | ".join(METRICS) + " |", "| --- | --- | ---: |" + " ---: |" * len(METRICS)]
    for row in rows:
        cells = [f"{row[metric]:.{digits[metric]}f}" for metric in METRICS]
        spreads = [row[f"{metric}_spread"] for metric in METRICS]
        cells = [
            cell if spread is None else f"{cell} ± {spread:.{digits[metric]}f}"
            for cell, spread, metric in zip(cells, spreads, METRICS, strict=True)
        ]
        lines.append(f"| {row['set']} | {row['loss']} | {row['seeds']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def slug(name: str) -> str:
    """A name as a part of a file's name.

    >>> slug("TFMLC VGG16")
    'tfmlc-vgg16'
    """
    return name.lower().replace(" ", "-")
