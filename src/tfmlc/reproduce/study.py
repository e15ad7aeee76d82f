"""The controlled study: one network is finetuned with each loss at several strengths, scored, and compared.

It goes from sharp photos and genuine pairs to a table. Each step writes files, and is not repeated if they exist.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from tfmlc.backbones import RANDOM
from tfmlc.config import checked, read_record
from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.errors import UserError, unknown_name
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.evaluate import evaluate, is_scored
from tfmlc.evaluation.sources import BLURRY
from tfmlc.io.files import write_atomically
from tfmlc.io.images import Image, write_image
from tfmlc.metrics.registry import check_available
from tfmlc.reproduce.comparison import summarize
from tfmlc.reproduce.plan import (
    CONTROL,
    METRICS,
    START,
    StudyConfig,
    about_study,
    adapters,
    fingerprint,
    label_of,
    listing,
    losses,
    runs_of,
    sets_of,
)
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt import adapt
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.hooks import centred
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
        UserError: If photos, sets, weights or metrics are missing, two sets have one name, or a folder is of a study
            with other settings, photos or weights.
    """
    named = losses(config)
    for name in [*config.only, *config.repeated]:
        if name not in named:
            raise unknown_name("loss", name, named)
    _check_sets(config)
    check_available(METRICS)
    _check_same_study(config, work)
    for name in sets_of(config):
        _make_set(config, name, work)
    for name in {named[loss].get("adapter") for loss, _, _ in runs_of(config)} & adapters(config).keys():
        path = work / "adapters" / f"{name}.safetensors"
        adapt(config.photos[0], path, checked(AdaptConfig, adapters(config)[str(name)]))
    own = fingerprint(config)
    if not config.only or CONTROL in config.only:
        _score(config, output, work, {BLURRY: BLURRY, START: config.start}, own)
    runs = runs_of(config)
    with Progress("study", len(runs)) as progress:
        for (name, seed), some in groupby(runs, key=lambda run: (run[0], run[2])):
            trained: dict[str, str] = {}
            for _, ratio, _ in some:
                label = label_of(name, ratio, seed)
                progress.say(label)
                recipe = recipe_of(config, work, named[name], ratio, seed=seed)
                trained[label] = str(train_network(recipe, work / "runs" / label))
                progress.advance()
            _score(config, output, work, trained, own)  # together, because they share what sharp images cost
    trained_adapters = sorted((work / "adapters").glob("*.safetensors"))
    return summarize(config, output, {path.stem: read_learned(path).accuracy for path in trained_adapters})


def _check_sets(config: StudyConfig) -> None:
    if not sets_of(config):
        raise UserError("name a set to score on: pairs={NAME: FOLDER} or sharp={NAME: FOLDER}")
    for name in config.pairs.keys() & config.sharp.keys():
        raise UserError(f"pairs and sharp both have a set {name!r}: give one another name")


def _check_same_study(config: StudyConfig, work: Path) -> None:
    """Refuse a folder with an adapter or a run of other settings; a study that failed before them binds nothing."""
    path, info = work / "study.json", json.loads(json.dumps(about_study(config)))
    begun = [*work.glob("adapters/*.safetensors"), *work.glob("*/*/state.safetensors")]
    if path.exists() and begun:
        earlier = read_record(path, dict[str, Any], "a study", "choose another --work")
        if changed := sorted(key for key in info if earlier.get(key) != info[key]):
            raise UserError(f"{work} has a study with other settings ({', '.join(changed)}): choose another --work")
        return
    write_atomically(path, (json.dumps(info, indent=1) + "\n").encode())


def _make_set(config: StudyConfig, name: str, work: Path) -> None:
    """Write the centres of the images of a set to score on; sharp images are blurred first."""
    source, folder = config.pairs.get(name) or config.sharp[name], work / "sets" / name
    made_of = json.dumps([listing([source]), config.scored_px])
    done = folder / "complete"
    if done.exists():
        if done.read_text(encoding="utf-8") != made_of:
            raise UserError(f"{folder} was made of other images: choose another --work")
        return
    if name in config.sharp:
        settings = SetConfig(kind="pairs", images="photos", blur=BlurConfig(), seed=0)
        if errors := synthesize([source], work / "blurred" / name, settings).errors:
            raise UserError(errors[0])
        source = work / "blurred" / name
    for pair in find_pairs(source):
        for part, image in zip(("blur", "sharp"), centred(read_pair(pair), config.scored_px), strict=True):
            write_image((folder / part / pair.name).with_suffix(".png"), Image(image))
    write_atomically(done, made_of.encode())


def recipe_of(config: StudyConfig, work: Path, loss: Mapping[str, Any], ratio: float, *, seed: int) -> TrainConfig:
    """Return the settings of a run with one loss. The rest of the settings is the same for all losses."""
    chosen = dict(loss)
    if chosen.get("adapter", RANDOM) != RANDOM:
        chosen["adapter"] = str(work / "adapters" / f"{chosen['adapter']}.safetensors")
    if ratio:
        chosen |= {"weight": "auto", "gradient_ratio": ratio}
    values: dict[str, Any] = {
        "network": {"name": "hinet", "start": config.start},
        "data": {"patch_px": config.patch_px, "prepared": work / "prepared", "sources": _sources(config, work)},
        "loss": chosen,
        "loop": {
            "steps": config.steps,
            "batch_size": config.batch_size,
            "learning_rate": config.learning_rate,
            "final_learning_rate": config.learning_rate / 100,
            "warmup_steps": min(20, config.steps // 5),
            "gradient_clip": 1e6,
            "ema_decay": 0.98,
            "workers": 0,
            "trackers": [],
            "save_every_steps": 100,
            "seed": seed,
        },
    }
    return checked(TrainConfig, values)


def _sources(config: StudyConfig, work: Path) -> dict[str, dict[str, Any]]:
    """Return the sources of pairs: photos under seeded blur, and genuine pairs, half of each."""
    side = config.patch_px + config.patch_px // 4
    photos = {"photos": config.photos, "prepare": config.prepared, "prepared_px": side}
    genuine: dict[str, dict[str, Any]] = {}
    for place, folder in enumerate(config.genuine):
        crops = {"crop_px": side, "crop_step_px": side, "crops": work / "crops" / str(place)}
        genuine[f"genuine_{place}"] = {"pairs": folder, **crops}
    return {"photos": {**photos, "fraction": max(1, len(genuine))}, **genuine}


def _score(config: StudyConfig, output: Path, work: Path, models: Mapping[str, str], own: str) -> None:
    """Score models, by label, on every set, for the study ``own``; what is scored already is not repeated."""
    for name in sets_of(config):
        folder = work / "sets" / name
        files = {model: output / f"{name}-{label}.json" for label, model in models.items()}
        left = {model: path for model, path in files.items() if not is_scored(path, model, folder)}
        if left:
            evaluate(left, folder, metrics=METRICS, more={"study": own})
