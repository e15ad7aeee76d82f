"""The recipes that ship, by name, and recipes from YAML files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfmlc.config import checked, override, read_yaml
from tfmlc.errors import unknown_name
from tfmlc.training.finetune import TrainConfig

QUARTER_RESOLUTION_HINET: dict[str, Any] = {
    "name": "hinet",
    "sizes": {"width": 32, "depth": 4, "normalised_levels": [2, 3], "unshuffle": 4},
}
STRAIGHT: dict[str, Any] = {"exposure": [0.05, 0.2], "turning": 0, "moving_patches": [0, 0], "shot_noise": [0, 0]}
MUON: dict[str, Any] = {"batch_size": 16, "optimiser": "muon", "learning_rate": 0.006, "gradient_clip": 1e6}

PRESETS: dict[str, dict[str, Any]] = {
    "default-first": {  # straight shifts of like length in all directions: a network that starts from nothing tells
        "network": QUARTER_RESOLUTION_HINET,  # these apart within minutes, and all blur at once not within hours
        "data": {"patch_px": 192, "blur": {**STRAIGHT, "strength_px": [8, 14]}},
        "loop": {**MUON, "steps": 600, "warmup_steps": 50},
        "blur_heads": 1.0,
    },
    "default": {  # goes on with all blur, half of the pairs still straight; network.start=runs/default-first/...
        "network": QUARTER_RESOLUTION_HINET,
        "data": {
            "patch_px": 192,
            "blur": {"strength_px": [3, 34], "light": "mixed", "highlight_gain": [1, 2]},
            "easy": {**STRAIGHT, "strength_px": [4, 26], "exposure": [0.05, 0.4]},
            "easy_share": 0.5,
        },
        "loop": {**MUON, "steps": 9000, "warmup_steps": 50},
        "blur_heads": 1.0,
    },
    "smoke": {  # seconds on a laptop: shows that everything runs
        "network": {"name": "hinet", "sizes": {"width": 8, "depth": 3, "normalised_levels": [1, 2], "unshuffle": 2}},
        "data": {"patch_px": 48, "blur": {"strength_px": [2, 6], "sub_exposures": [9, 9]}},
        "loop": {"steps": 8, "batch_size": 2, "warmup_steps": 2, "save_every_steps": 4, "workers": 0},
    },
}


def load_recipe(recipe: str, settings: Iterable[str] = ()) -> TrainConfig:
    """A preset or a YAML file, with ``key=value`` settings applied; everything is checked.

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
    return checked(TrainConfig, override(values, settings))
