"""The saved state of a run: what the file contains, and whether a run may continue from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor

from tfmlc.backbones import RANDOM
from tfmlc.config import parse_record
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_safetensors
from tfmlc.typed import is_record

STATE = "state.safetensors"
AGAIN = "remove it to start the run again"
WAY_OUT = "choose another folder, or use --force to continue with the new settings"
READ_FROM = {  # settings that are read from the file that another setting names
    "network.start": ("network.name", "network.sizes"),
    "loss.adapter": ("loss.backbone", "loss.block", "loss.adapter_mode"),
}
FREE_SETTINGS = {"loop.workers", "loop.save_every_steps", "loop.trackers", "loop.device"}


class RunState(BaseModel):
    """The part of a saved state that is not tensors.

    Attributes:
        step: The number of steps taken.
        schedule: The states of the schedule and the hooks.
        recipe: The settings of the run.
        loss_scale: The state of the loss scaler, in fp16.
    """

    step: int = Field(ge=0)
    schedule: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    loss_scale: dict[str, Any] = {}


def read_state(path: Path) -> tuple[dict[str, Tensor], RunState]:
    """Return the tensors of a saved state, and what it says of the run; raises UserError if it is another file."""
    tensors, metadata = read_safetensors(path)
    if "run" not in metadata:
        raise UserError(f"{path} is not the saved state of a run: {AGAIN}")
    return tensors, parse_record(metadata["run"], RunState, path, "the saved state of a run", AGAIN)


def last_scores(run: Path) -> dict[str, float]:
    """Return the scores of a run's last validation, by metric; raises UserError if there was no validation."""
    scores = read_state(run / STATE)[1].schedule.get("scores")
    if not scores:
        raise UserError(f"{run / STATE} contains no validation scores: {AGAIN}")
    return scores[-1]


def check_same_recipe(
    path: Path, earlier: Mapping[str, Any], recipe: Mapping[str, Any], way_out: str = WAY_OUT
) -> None:
    """Check that a run continues with the settings it was started with.

    Settings that do not change the result may differ, such as the number of workers. Two kinds of settings are not
    compared, because earlier versions did not record them: those that are read from a file that both recipes name,
    and sizes that one recipe leaves to the network.

    Args:
        path: The saved state, for the error.
        earlier: The settings it was made with.
        recipe: The settings now.
        way_out: How to fix it, for the error.

    Raises:
        UserError: If a setting differs. The error lists the changes.

    Example:
        >>> check_same_recipe(Path("state"), {"loop": {"steps": 9, "workers": 1}}, {"loop": {"steps": 9, "workers": 4}})
    """
    before, now = flat(earlier), flat(recipe)
    for key in before.keys() ^ now.keys():
        if key.startswith("network.sizes."):
            (before if key in before else now).pop(key)
    read = [
        prefix
        for file, prefixes in READ_FROM.items()
        if before.get(file) is not None and before.get(file) == now.get(file) != RANDOM
        for prefix in prefixes
    ]
    changed = [
        f"{key} {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if key not in FREE_SETTINGS and before.get(key) != now.get(key) and not key.startswith(tuple(read))
    ]
    if changed:
        raise UserError(f"{path} was made with other settings ({', '.join(changed)}): {way_out}")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings under dotted names.

    >>> flat({"loop": {"steps": 9}, "mesh": 0.0})
    {'loop.steps': 9, 'mesh': 0.0}
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if is_record(value) else {name: value}
    return found
