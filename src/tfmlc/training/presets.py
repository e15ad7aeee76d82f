"""Recipes: the presets, and recipes from YAML files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfmlc.config import checked, override, read_yaml
from tfmlc.errors import UserError, unknown_name
from tfmlc.networks import NETWORKS
from tfmlc.training.train import ADDED, TrainConfig

QUARTER_RESOLUTION_HINET: dict[str, Any] = {
    "name": "hinet",
    "sizes": {"width": 32, "depth": 4, "normalised_levels": [2, 3], "unshuffle": 4},
}
STRAIGHT: dict[str, Any] = {"exposure": [0.05, 0.2], "turning": 0, "moving_patches": [0, 0], "shot_noise": [0, 0]}
MUON: dict[str, Any] = {"batch_size": 16, "optimiser": "muon", "learning_rate": 0.006, "gradient_clip": 1e6}

GOPRO_CROPS: dict[str, Any] = {"patch_px": 256, "crop_px": 512, "crop_step_px": 256}
HINET_GOPRO: dict[str, Any] = {  # ICIP 2023, section 3.1: 20,000 steps of 4 crops from the official weights
    "network": {"name": "hinet", "sizes": {"width": 64}, "start": "HINet-GoPro.pth"},
    "data": GOPRO_CROPS,
    "loop": {
        "steps": 20_000,
        "batch_size": 4,
        "learning_rate": 2e-5,
        "final_learning_rate": 1e-7,
        "warmup_steps": 0,
        "betas": [0.9, 0.99],
        "gradient_clip": 0.01,
        "ema_decay": 0.0,
        "precision": "fp32",
        "workers": 4,
    },
}
MPRNET_LITE_GOPRO: dict[str, Any] = {  # 200 epochs of GoPro's 2,103 training pairs, one per step; 3 epochs of warm-up
    "network": {"name": "mprnet-lite", "start": "MPRNet-lite-GoPro.pth"},
    "data": {"patch_px": 256, "saturation": 0.2},
    "loop": {
        **HINET_GOPRO["loop"],
        "steps": 200 * 2103,
        "batch_size": 1,
        "learning_rate": 1e-6,
        "final_learning_rate": 1e-9,
        "warmup_steps": 3 * 2103,
        "betas": [0.9, 0.999],
    },
}
LOSSES: dict[str, dict[str, Any]] = {
    "control": {"kind": "control"},
    "fmlc": {"kind": "fmlc", "backbone": "clip-vit-b16", "block": 3},
    "tfmlc": {"kind": "tfmlc", "backbone": "clip-vit-b16", "block": 3, "adapter": "adapter.safetensors"},
}

ALL_BLUR: dict[str, Any] = {
    "patch_px": 192,
    "blur": {"strength_px": [3, 34], "light": "mixed", "highlight_gain": [1, 2]},
    "easy": {**STRAIGHT, "strength_px": [4, 26], "exposure": [0.05, 0.4]},
}
CROPS_384: dict[str, Any] = {"crop_px": 384, "crop_step_px": 224}
MIXED_LIGHT: dict[str, Any] = {"light": "mixed", "highlight_gain": [1, 2]}
# Name the folders: data.sources.short.photos=[photos/], long and sharp as well, data.sources.gopro.pairs=FOLDER, reds.
# Blur made from videos is not among them: it made other scenes worse (docs/results/models.md).
GENUINE: dict[str, Any] = {
    "patch_px": 192,
    "sources": {
        "short": {"fraction": 0.42, "prepare": 8000, "blur": {**MIXED_LIGHT, "strength_px": [3, 24]}},
        "long": {
            "fraction": 0.1,
            "prepare": 3000,
            "blur": {**MIXED_LIGHT, "strength_px": [16, 60], "exposure": [0.2, 1.6], "jpeg_quality": [70, 100]},
        },
        "gopro": {"fraction": 0.24, **CROPS_384},
        "reds": {"fraction": 0.2, **CROPS_384},
        "sharp": {
            "fraction": 0.04,
            "prepare": 600,
            "blur": {"strength_px": [0, 1], "read_noise": [0, 0.02], "jpeg_quality": [60, 100]},
        },
    },
}
PROJECTED_DINOV2: dict[str, Any] = {
    "kind": "tfmlc",
    "backbone": "dinov2-vit-s14",
    "adapter": "random",  # docs/results/study.md: no trained adapter was better
    "adapter_mode": "token",
    "offset": "random",
    "weight": "auto",
    "gradient_ratio": 2.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    **{f"hinet-gopro-{name}": {**HINET_GOPRO, "loss": loss} for name, loss in LOSSES.items()},
    **{f"mprnet-lite-gopro-{name}": {**MPRNET_LITE_GOPRO, "loss": loss} for name, loss in LOSSES.items()},
    # Straight shifts of similar length in all directions. A network with random weights learns to distinguish these
    # within minutes. With all kinds of blur at once it does not learn to distinguish them within hours.
    "default-first": {
        "network": QUARTER_RESOLUTION_HINET,
        "data": {"patch_px": 192, "blur": {**STRAIGHT, "strength_px": [8, 14]}},
        "loop": {**MUON, "steps": 600, "warmup_steps": 50},
        "blur_heads": 1.0,
    },
    "default": {  # continues with all kinds of blur; half of the pairs stay straight; network.start=runs/...
        "network": QUARTER_RESOLUTION_HINET,
        "data": {**ALL_BLUR, "easy_fraction": 0.5},
        "loop": {**MUON, "steps": 9000, "warmup_steps": 50},
        "blur_heads": 1.0,
    },
    "default-genuine": {  # continues with a head at full resolution, a second scale and genuine pairs
        "network": {"name": "hinet", "start": "runs/default/weights.safetensors", "sizes": {"head": 16, "scales": 2}},
        "data": GENUINE,
        "loop": {
            **MUON,
            "steps": 6000,
            "learning_rate": 0.003,
            "final_learning_rate": 2e-5,
            "warmup_steps": 40,
            "gradient_clip": 5.0,  # otherwise batches with a nearly sharp image dominate Muon's momentum
            "ema_decay": 0.998,
        },
        "mesh": 0.03,
    },
    "default-perceptual": {  # finetunes the shipped result of it with a feature loss whose backbone is free
        "network": {"name": "hinet", "start": "default-psnr"},
        "data": GENUINE,
        "loss": PROJECTED_DINOV2,
        "loop": {
            **MUON,
            "steps": 240,
            "batch_size": 12,
            "learning_rate": 8e-4,
            "final_learning_rate": 2e-5,
            "warmup_steps": 10,
            "ema_decay": 0.98,
        },
        "mesh": 0.5,
    },
    "smoke": {  # takes seconds on a laptop and shows that everything runs
        "network": {"name": "hinet", "sizes": {"width": 8, "depth": 3, "normalised_levels": [1, 2], "unshuffle": 2}},
        "data": {"patch_px": 48, "blur": {"strength_px": [2, 6], "sub_exposures": [9, 9]}},
        "loop": {"steps": 8, "batch_size": 2, "warmup_steps": 2, "save_every_steps": 4, "workers": 0},
    },
}


SMALLEST: dict[str, dict[str, Any]] = {  # by family
    "hinet": {"width": 8, "depth": 3, "normalised_levels": [1, 2]},
    "mprnet": {"width": 8, "unet_step": 4, "original_step": 4},
    "nafnet": {"width": 8, "middle_blocks": 1, "encoder_blocks": [1, 1], "decoder_blocks": [1, 1]},
    "spectral-unet": {
        "widths": [8, 8],
        "encoder_blocks": [1, 1],
        "decoder_blocks": [1],
        "code": 8,
        "head": [4, 4, 4],
    },
}


def load_recipe(recipe: str, settings: Iterable[str] = (), *, smoke: bool = False) -> TrainConfig:
    """Load a preset or a YAML file, and apply settings to it.

    Args:
        recipe: The name of a preset, or a file ``.yaml`` or ``.yml``.
        settings: Settings ``key=value`` that replace those of the recipe.
        smoke: Whether to reduce the recipe to a run of seconds: a small network, random weights everywhere, and eight
            steps with small patches. No crops are cut and no pairs are prepared, so that the real
            run finds none of other settings. Such a run only shows that everything works with the data. ``settings``
            are applied after this.

    Returns:
        The settings of the run.

    Raises:
        UserError: If the recipe or a setting is unknown, or a value is not valid.

    Example:
        >>> load_recipe("smoke", ["loop.steps=3"]).loop.steps
        3
    """
    path = Path(recipe)
    if path.suffix in (".yaml", ".yml"):
        values = read_yaml(path)
    elif recipe in PRESETS:
        values = PRESETS[recipe]
    else:
        raise unknown_name("preset", recipe, PRESETS)
    if smoke:
        values = override(values, _smoke(checked(TrainConfig, values)))
    return checked(TrainConfig, override(values, settings))


def check_effects(config: TrainConfig, settings: Iterable[str]) -> None:
    """Raise UserError if a setting was given that is not used, because of another one.

    Args:
        config: All settings.
        settings: Settings ``key=value`` that were given.

    Example:
        >>> check_effects(load_recipe("smoke"), ["loss.block=2"])
        Traceback (most recent call last):
        tfmlc.errors.UserError: loss.block has no effect with loss.kind=control: leave one of them out
    """
    loss, start = config.loss, config.network.start
    for key in (setting.partition("=")[0].strip() for setting in settings):
        room, _, name = key.rpartition(".")
        if room == "loss" and name not in ("kind", *loss.used()):
            auto_alone = loss.kind != "control" and name in ("gradient_ratio", "auto_steps")
            why = f"loss.weight={loss.weight}, only with auto" if auto_alone else f"loss.kind={loss.kind}"
            raise UserError(f"{key} has no effect with {why}: leave one of them out")
        if room == "network.sizes" and start is not None and name not in ADDED:
            raise UserError(
                f"{key} has no effect with network.start={start}, whose file decides: leave one of them out"
            )


def _smoke(config: TrainConfig) -> list[str]:
    name, changes = config.network.name, ["data.patch_px=64"]
    if name in NETWORKS:  # another one has no sizes to choose: it keeps its weights file
        changes += [f"network={{name: {name}, sizes: {json.dumps(SMALLEST[NETWORKS[name].family])}}}"]
    sources = {f"data.sources.{name}": source for name, source in config.data.sources.items()}
    for place, source in {"data": config.data, **sources}.items():
        changes += [f"{place}.{key}=null" for key in ("crop_px", "prepare") if getattr(source, key) is not None]
    if config.loss.kind in ("fmlc", "tfmlc"):
        changes += ["loss.weights=random"]
    if config.loss.kind == "tfmlc":
        changes += ["loss.adapter=random"]
    loop = {"steps": 8, "warmup_steps": 2, "batch_size": 2, "learning_rate": 1e-3, "gradient_clip": 1, "workers": 1}
    return [*changes, *(f"loop.{key}={value}" for key, value in loop.items()), "loop.save_every_steps=4"]


def scale_to(config: TrainConfig, batch_size: int) -> tuple[TrainConfig, list[str]]:
    """Adapt a recipe to another batch size, so that it sees the same number of images.

    Everything that is counted in steps is divided by the factor by which the batch size grows. The learning rate is
    multiplied by the square root of the factor.

    Args:
        config: The recipe.
        batch_size: The new batch size.

    Returns:
        The new recipe, and a line for each setting that changed.

    References:
        Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022.

    Example:
        >>> config, lines = scale_to(load_recipe("hinet-gopro-control"), 1)
        >>> config.loop.steps, config.loop.learning_rate, lines[1]
        (80000, 1e-05, 'loop.steps: 20000 -> 80000')
    """
    loop = config.loop
    factor = loop.batch_size / batch_size
    changes: dict[str, Any] = {
        "batch_size": batch_size,
        "steps": max(1, round(loop.steps * factor)),
        "warmup_steps": round(loop.warmup_steps * factor),
        "learning_rate": loop.learning_rate / factor**0.5,
        "final_learning_rate": loop.final_learning_rate / factor**0.5,
        "ema_decay": round(loop.ema_decay ** (1 / factor), 6),
    }
    lines = [
        f"loop.{key}: {getattr(loop, key)} -> {value}" for key, value in changes.items() if value != getattr(loop, key)
    ]
    values = config.model_dump(mode="json")
    values["loop"] |= changes
    return checked(TrainConfig, values), lines
