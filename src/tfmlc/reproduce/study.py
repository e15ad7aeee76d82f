"""The controlled study: the same network is trained on the same data for the same steps with each loss, and scored.

It goes from sharp photos to a table in six steps. Each step writes files, and is not repeated if they exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfmlc.backbones import RANDOM
from tfmlc.config import checked, read_record
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.data.synthesis.videos import VideoBlurConfig
from tfmlc.errors import UserError, unknown_name
from tfmlc.evaluation.evaluate import evaluate, is_scored
from tfmlc.evaluation.sources import BLURRY
from tfmlc.io.files import write_atomically
from tfmlc.io.images import find_images
from tfmlc.reproduce.comparison import summarize
from tfmlc.reproduce.plan import (
    CHOSEN_BY,
    CONTROL,
    METRICS,
    MOST_PSNR_LOST,
    START,
    StudyConfig,
    about_study,
    adapters,
    fingerprint,
    listing,
    losses,
    read_ratio,
    sets_of,
    slug,
)
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt import adapt
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.state import last_scores
from tfmlc.training.train import TrainConfig, train_network


def study(config: StudyConfig, output: Path, work: Path) -> str:
    """Run the part of the study that is not finished.

    An interrupted run continues where it stopped. With ``config.only``, several processes can share the work.

    Args:
        config: The settings.
        output: The folder for the scores and the summary.
        work: The folder for everything else.

    Returns:
        The summary as a Markdown table.

    Raises:
        UserError: If photos, sets or weights are missing, or a folder is of a study with other settings, photos or
            weights.
    """
    named = losses(config)
    for name in [*config.only, *config.repeated]:
        if name not in named:
            raise unknown_name("loss", name, named)
    chosen = {name: named[name] for name in config.only or named}
    _check_same_study(config, work)
    prepare(config, work)
    for name in {loss["adapter"] for loss in chosen.values() if "adapter" in loss} - {RANDOM}:
        adapt(
            work / "triplets", work / "adapters" / f"{name}.safetensors", checked(AdaptConfig, adapters(config)[name])
        )
    runs: dict[str, str] = {BLURRY: BLURRY, START: config.start} if CONTROL in chosen else {}
    with Progress("study") as progress:
        for seed in config.seeds:
            for name, loss in chosen.items():
                if seed == config.seeds[0] or name in config.repeated:
                    label = f"{slug(name)}-{seed}"
                    progress.say(f"{name}, seed {seed}")
                    ratio = choose_ratio(config, work, name, loss) if name != CONTROL else None
                    recipe = recipe_of(config, work, loss, ratio, seed=seed, steps=config.steps)
                    runs[label] = str(train_network(recipe, work / "runs" / label))
            _score(config, output, work, runs)
    return summarize(config, output, work)


def _check_same_study(config: StudyConfig, work: Path) -> None:
    path, info = work / "study.json", json.loads(json.dumps(about_study(config)))
    if path.exists():
        earlier = read_record(path, dict[str, Any], "a study", "choose another --work")
        if changed := sorted(key for key in info if earlier.get(key) != info[key]):
            raise UserError(f"{work} has a study with other settings ({', '.join(changed)}): choose another --work")
        return
    write_atomically(path, (json.dumps(info, indent=1) + "\n").encode())


def prepare(config: StudyConfig, work: Path) -> None:
    """Split the photos into training and validation photos, and make pairs, triplets and the sets to score on."""
    photos = [photo for path in config.photos for photo, _ in find_images(path)]
    held = set(
        np.random.default_rng(0).permutation(len(photos))[: max(1, round(config.held_out_fraction * len(photos)))]
    )
    parts = {
        "training": [photo for place, photo in enumerate(photos) if place not in held],
        "validation": [photo for place, photo in enumerate(photos) if place in held],
    }
    for seed, (part, chosen) in enumerate(parts.items()):
        many = config.per_photo if part == "training" else 1
        _made("pairs", chosen, work / part, per_photo=many, seed=10 + seed)
    video = VideoBlurConfig(levels=2)
    _made("triplets", parts["training"], work / "triplets", per_photo=config.triplets_per_photo, video=video, seed=12)
    for name, folder in config.sharp.items():
        _made("pairs", [folder], work / "sets" / name, seed=0)


def _made(kind: Any, photos: Sequence[Path], folder: Path, **settings: Any) -> None:
    made_of = json.dumps([listing(photos), {key: str(value) for key, value in settings.items()}])
    if (folder / "complete").exists():
        if (folder / "complete").read_text(encoding="utf-8") not in ("", made_of):  # earlier versions left it empty
            raise UserError(f"{folder} was made of other photos or settings: choose another --work")
        return
    summary = synthesize(photos, folder, SetConfig(kind=kind, images="photos", blur=BlurConfig(), **settings))
    if summary.errors:
        raise UserError(summary.errors[0])
    write_atomically(folder / "complete", made_of.encode())


def recipe_of(
    config: StudyConfig, work: Path, loss: Mapping[str, Any], ratio: float | None, *, seed: int, steps: int
) -> TrainConfig:
    """Return the settings of a run with one loss. The rest of the settings is the same for all losses."""
    chosen = dict(loss)
    if chosen.get("adapter", RANDOM) != RANDOM:
        chosen["adapter"] = str(work / "adapters" / f"{chosen['adapter']}.safetensors")
    if ratio is not None:
        chosen |= {"weight": "auto", "gradient_ratio": ratio}
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


def choose_ratio(config: StudyConfig, work: Path, name: str, loss: Mapping[str, Any]) -> float:
    """Choose the gradient ratio of a loss by short runs, which are scored on the validation photos.

    The best ratio has the lowest mean of LPIPS and DISTS, each relative to the control. Ratios that lose more than
    0.3 dB of PSNR are not considered, unless all of them do.

    Args:
        config: The settings of the study.
        work: The folder of the runs.
        name: The name of the loss.
        loss: The settings of the loss.

    Returns:
        The ratio.
    """
    path = work / "ratios" / f"{slug(name)}.json"
    if not path.exists():
        control = _trial(config, work, CONTROL, losses(config)[CONTROL], None)
        rows: list[dict[str, float]] = []
        for ratio in config.ratios:
            scores = _trial(config, work, name, loss, ratio)
            relative = (scores["lpips"] / control["lpips"] + scores["dists"] / control["dists"]) / 2
            rows.append({"ratio": ratio, **scores, "relative": relative, "lost_db": control["psnr"] - scores["psnr"]})
        allowed = [row for row in rows if row["lost_db"] <= MOST_PSNR_LOST] or rows[:1]
        best = min(allowed, key=lambda row: row["relative"])
        content = {"ratio": best["ratio"], "control": control, "trials": rows}
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
    return read_ratio(path)


def _trial(
    config: StudyConfig, work: Path, name: str, loss: Mapping[str, Any], ratio: float | None
) -> dict[str, float]:
    run = work / "trials" / (slug(name) if ratio is None else f"{slug(name)}-{ratio:g}")
    train_network(recipe_of(config, work, loss, ratio, seed=100, steps=config.trial_steps), run)
    scores = last_scores(run)
    return {metric: scores[metric] for metric in CHOSEN_BY}


def _score(config: StudyConfig, output: Path, work: Path, runs: Mapping[str, str]) -> None:
    for name, folder in sets_of(config, work).items():
        files = {model: output / f"{name}-{label}.json" for label, model in runs.items()}
        left = {model: path for model, path in files.items() if not is_scored(path, model, folder)}
        if left:
            evaluate(left, folder, metrics=METRICS, more={"study": fingerprint(config)})
