"""The plan of the controlled study: its settings, its losses and adapters, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tfmlc.backbones import RANDOM
from tfmlc.config import Config, read_record
from tfmlc.evaluation.sources import find_source
from tfmlc.io.images import find_images

METRICS = ("psnr", "ssim_3d", "ssim_2d", "lpips", "dists", "niqe", "brisque")
CHOSEN_BY = ("psnr", "lpips", "dists")
MOST_PSNR_LOST = 0.3  # dB; a loss weight that costs more PSNR is not chosen
CONTROL, START = "control", "start"
NOT_OF_THE_STUDY = {"photos", "pairs", "sharp", "only", "seeds", "repeated", "start"}


class StudyConfig(Config):
    """The settings of the study."""

    photos: list[Path] = Field(min_length=1, description="sharp photos to train on, and folders of them")
    pairs: dict[str, Path] = Field(default_factory=dict, description="sets to score on: name and folder of pairs")
    sharp: dict[str, Path] = Field(
        default_factory=dict,
        description="more sets to score on: name and folder of sharp images, which are blurred with seed 0",
    )
    start: str = Field(default="default-psnr", description="model to start from, trained with the pixel loss only")
    backbone: str = Field(
        default="dinov2-vit-s14", description="backbone of FMLC and TFMLC; the paper's is clip-vit-b16"
    )
    block: int = Field(default=3, description="block whose features are compared, counted from zero")
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    hidden: int = Field(default=256, description="width of the adapters")
    steps: int = Field(default=300, ge=1, description="steps of each run")
    trial_steps: int = Field(default=100, ge=1, description="steps of the short runs that choose the loss weights")
    batch_size: int = Field(default=4, description="images per step")
    patch_px: int = Field(default=256, description="side of the patches")
    learning_rate: float = Field(default=2e-4, description="highest learning rate")
    ratios: list[float] = Field(default=[0.3, 1.0, 3.0], description="gradient ratios to try on the validation photos")
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1, description="seeds of the repeated runs")
    repeated: list[str] = Field(default=[CONTROL, "FMLC", "TFMLC"], description="losses that run with every seed")
    only: list[str] = Field(default_factory=list[str], description="losses to run now; empty: all")
    per_photo: int = Field(default=3, description="number of blurry versions of each photo")
    triplets_per_photo: int = Field(default=4, description="number of triplets of each photo")
    adapter_epochs: int = Field(default=60, description="largest number of epochs of an adapter")
    held_out_fraction: float = Field(default=0.15, gt=0, lt=1, description="fraction of the photos to validate on")


def losses(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of each compared loss, by name."""
    features = _features(config)
    return {
        CONTROL: {"kind": "control"},
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
    """Return the settings of each adapter that the losses need, by name."""
    common = {"hidden": config.hidden, "epochs": config.adapter_epochs, "views": 2, "held_out_fraction": 0.15}
    main = {**common, **_features(config), "batch_size": 64}
    return {
        "token-shared": {**main, "mode": "token", "alignment": "shared"},
        "token-independent": {**main, "mode": "token", "alignment": "independent"},
        "flatten-shared": {**main, "mode": "flatten", "alignment": "shared"},
        "vgg16-shared": {**common, "backbone": "vgg16", "block": 2, "mode": "token", "batch_size": 32, "views": 1},
    }


class ChosenRatio(BaseModel):
    """The gradient ratio that was chosen for a loss."""

    ratio: float


def read_ratio(path: Path) -> float:
    """Read the gradient ratio that an earlier run chose."""
    return read_record(path, ChosenRatio, "the choice of a gradient ratio", "remove it, and it is chosen again").ratio


def about_study(config: StudyConfig) -> dict[str, Any]:
    """Return what identifies a study: its settings, the names and sizes of its photos, and the weights it starts from.

    The scored sets and the losses and seeds to run are left out, so that a study can be extended.
    """
    settings = config.model_dump(
        mode="json", exclude={"photos", "pairs", "sharp", "only", "seeds", "repeated", "start"}
    )
    return {**settings, "photos": listing(config.photos), "start": find_source(config.start, []).info["sha256"]}


def listing(folders: Iterable[Path]) -> list[list[str | int]]:
    """Return the names and file sizes of the photos in folders."""
    return [[str(name), photo.stat().st_size] for path in folders for photo, name in find_images(path)]


def fingerprint(config: StudyConfig) -> str:
    """Return the fingerprint of what identifies a study."""
    return hashlib.sha256(json.dumps(about_study(config), sort_keys=True).encode()).hexdigest()


def sets_of(config: StudyConfig, work: Path) -> dict[str, Path]:
    """Return the sets to score on, by name."""
    return {**config.pairs, **{name: work / "sets" / name for name in config.sharp}}


def slug(name: str) -> str:
    """Turn a name into a part of a file name.

    >>> slug("TFMLC VGG16")
    'tfmlc-vgg16'
    """
    return name.lower().replace(" ", "-")
