"""The recipes that ship, by name, and recipes from YAML files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfmlc.config import checked, override, read_yaml
from tfmlc.errors import unknown_name
from tfmlc.training.finetune import TrainConfig

HALF_RESOLUTION_HINET: dict[str, Any] = {
    "name": "hinet",
    "sizes": {"width": 32, "depth": 4, "normalised_levels": [2, 3], "unshuffle": 2},
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {  # how the model that ships was trained; docs/models.md tells the whole story
        "network": HALF_RESOLUTION_HINET,
        "data": {
            "patch_px": 160,
            "blur": {"light": "mixed", "shot_noise": [0, 5e-5], "highlight_gain": [1, 2]},
            "start": 0.0,
            "enough_db": 1.2,
        },
        "loop": {
            "steps": 16_000,
            "batch_size": 4,
            "optimiser": "muon",
            "learning_rate": 0.01,
            "final_learning_rate": 1e-5,
            "gradient_clip": 1.0,
        },
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
