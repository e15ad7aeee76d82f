"""The plan of the controlled study: its settings, its losses and adapters, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from tfmlc.backbones import RANDOM
from tfmlc.config import Config
from tfmlc.evaluation.sources import find_source
from tfmlc.io.images import find_images

METRICS = ("psnr", "ssim_3d", "lpips", "dists", "niqe", "periodicity")
CONTROL, START, FEATURES = "control", "start", "FMLC"
UNTRAINED, NUISANCE, SHIPPED = "TFMLC untrained", "TFMLC nuisance", "default"
OWN_METRIC = {"LPIPS": "lpips", "DISTS": "dists"}  # a loss is not judged by itself
EXTENDED_BY = {"photos", "genuine", "pairs", "sharp", "only", "seeds", "repeated", "start"}


class StudyConfig(Config):
    """The settings of the study."""

    photos: list[Path] = Field(min_length=1, description="sharp photos to train on, and folders of them")
    genuine: list[Path] = Field(default_factory=list[Path], description="folders of genuine pairs to train on as well")
    pairs: dict[str, Path] = Field(default_factory=dict, description="sets to score on: name and folder of pairs")
    sharp: dict[str, Path] = Field(
        default_factory=dict,
        description="more sets to score on: name and folder of sharp images, which are blurred with seed 0",
    )
    scored_px: int = Field(default=448, ge=64, description="side of the centre of each image that is scored")
    start: str = Field(default="default-psnr", description="model to start from, trained with the pixel loss only")
    backbone: str = Field(
        default="dinov2-vit-s14", description="backbone of FMLC and TFMLC; the paper's is clip-vit-b16"
    )
    block: int = Field(default=3, description="block whose features are compared, counted from zero")
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    triplets: int = Field(default=4000, ge=2, description="triplets in an epoch of an adapter, blurred on the fly")
    triplet_px: int = Field(default=112, ge=16, description="side of the images of the triplets")
    adapter_epochs: int = Field(default=3, description="largest number of epochs of an adapter")
    hidden: int = Field(default=256, description="width of the adapters")
    steps: int = Field(default=200, ge=1, description="steps of each run")
    batch_size: int = Field(default=4, description="images per step")
    patch_px: int = Field(default=128, description="side of the patches")
    learning_rate: float = Field(default=2e-4, description="highest learning rate")
    prepared: int = Field(default=800, ge=1, description="number of pairs that are made from the photos")
    ratios: list[float] = Field(
        default=[0.3, 1.0, 3.0], min_length=1, description="norm of a loss's gradient, relative to the pixel loss's"
    )
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1, description="seeds of the repeated runs")
    repeated: list[str] = Field(
        default=[CONTROL, FEATURES, UNTRAINED, NUISANCE, SHIPPED], description="losses that run with every seed"
    )
    only: list[str] = Field(default_factory=list[str], description="losses to run now; empty: all")


def losses(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of each compared loss, by name. The patches of all but one move at random in each step."""
    features = {"backbone": config.backbone, "block": config.block, "weights": config.weights}
    ours = {**features, "size": "native", "offset": "random"}
    return {
        CONTROL: {"kind": "control"},
        FEATURES: {"kind": "fmlc", **ours},
        "FMLC fixed grid": {"kind": "fmlc", **ours, "offset": "none"},
        UNTRAINED: {"kind": "tfmlc", **ours, "adapter": RANDOM, "adapter_mode": "token"},
        "TFMLC shared": {"kind": "tfmlc", **ours, "adapter": "shared"},
        "TFMLC independent": {"kind": "tfmlc", **ours, "adapter": "independent"},
        NUISANCE: {"kind": "tfmlc", **ours, "adapter": "nuisance"},
        SHIPPED: {"kind": "default", "offset": "random"},
        "VGG-relu3_3": {"kind": "fmlc", "backbone": "vgg16", "block": 2, "size": "native"},
        "LPIPS": {"kind": "LPIPS-vgg"},
        "DISTS": {"kind": "DISTS"},
    }


def adapters(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of each adapter, by name. They differ in how the images of a triplet are augmented."""
    common = {
        **{"backbone": config.backbone, "block": config.block, "weights": config.weights},
        **{"mode": "token", "hidden": config.hidden, "photos": config.photos[1:], "count": config.triplets},
        **{"levels": 3, "views": 0, "batch_size": 32, "learning_rate": 1e-3, "epochs": config.adapter_epochs},
        **{"augmentation": {"crop_px": config.triplet_px}, "held_out_fraction": 0.1},
    }
    return {alignment: {**common, "alignment": alignment} for alignment in ("shared", "independent", "nuisance")}


def runs_of(config: StudyConfig) -> list[tuple[str, float, int]]:
    """Return the runs of the study: the loss, the gradient ratio (0 for the control) and the seed."""
    chosen = config.only or list(losses(config))
    return [
        (name, ratio, seed)
        for seed in config.seeds
        for name in chosen
        for ratio in ([0.0] if name == CONTROL else config.ratios)
        if seed == config.seeds[0] or name in config.repeated
    ]


def label_of(name: str, ratio: float, seed: int) -> str:
    """Return the name of a run.

    >>> label_of("VGG-relu3_3", 0.3, 0), label_of("control", 0, 2)
    ('vgg-relu3_3-0.3-0', 'control-0-2')
    """
    return f"{name.lower().replace(' ', '-')}-{ratio:g}-{seed}"


def about_study(config: StudyConfig) -> dict[str, Any]:
    """Return what identifies a study: its settings, the names and sizes of its photos, and the weights it starts from.

    The scored sets and the losses and seeds to run are left out, so that a study can be extended.
    """
    settings = config.model_dump(mode="json", exclude=EXTENDED_BY)
    material = {"photos": listing(config.photos), "genuine": listing(config.genuine)}
    return {**settings, **material, "start": find_source(config.start, []).info["sha256"]}


def listing(folders: Iterable[Path]) -> list[list[str | int]]:
    """Return the names and file sizes of the photos in folders."""
    return [[name.as_posix(), photo.stat().st_size] for path in folders for photo, name in find_images(path)]


def fingerprint(config: StudyConfig) -> str:
    """Return the fingerprint of what identifies a study."""
    return hashlib.sha256(json.dumps(about_study(config), sort_keys=True).encode()).hexdigest()


def sets_of(config: StudyConfig) -> list[str]:
    """Return the names of the sets to score on."""
    return [*config.pairs, *config.sharp]
