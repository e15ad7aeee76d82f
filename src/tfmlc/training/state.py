"""The saved state of a run: what is in the file, and whether a run may go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tfmlc.backbones import RANDOM
from tfmlc.config import parse_record
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_safetensors
from tfmlc.typed import is_record

STATE = "state.safetensors"
AGAIN = "remove it to start the run again"
WAY_OUT = "choose another folder, or --force to go on with the new ones"
READ_FROM = {  # settings that are read from the file that a setting names
    "network.start": ("network.name", "network.sizes"),
    "loss.adapter": ("loss.backbone", "loss.block", "loss.adapter_mode"),
}
FREE_SETTINGS = {"loop.workers", "loop.save_every_steps", "loop.trackers", "loop.device"}


class RunState(BaseModel):
    """Where a saved run is: its step, what its schedule keeps, its recipe, and the scaling of its loss."""

    step: int = Field(ge=0)
    schedule: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    loss_scale: dict[str, Any] = {}


def read_state(path: Path) -> tuple[dict[str, Tensor], RunState]:
    """Tensors of a saved run, and where it is; raises UserError for another file."""
    tensors, metadata = read_safetensors(path)
    if "run" not in metadata:
        raise UserError(f"{path} is no state of a run: {AGAIN}")
    return tensors, parse_record(metadata["run"], RunState, path, "the state of a run", AGAIN)


def last_scores(run: Path) -> dict[str, float]:
    """What the last validation of a run found, by metric; raises UserError for a run without one."""
    scores = read_state(run / STATE)[1].schedule.get("scores")
    if not scores:
        raise UserError(f"{run / STATE} holds no validation: {AGAIN}")
    return scores[-1]


def check_same_recipe(
    path: Path, earlier: Mapping[str, Any], recipe: Mapping[str, Any], way_out: str = WAY_OUT
) -> None:
    """Settings that change the course of a run must be those it was started with.

    Those that are read from a file that both name say nothing, nor do sizes that one of them leaves to the network:
    earlier versions did not write down what they read.
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
        raise UserError(f"{path} is of a run with other settings ({', '.join(changed)}): {way_out}")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if is_record(value) else {name: value}
    return found


def whole(value: Tensor) -> Tensor:
    """A tensor that FSDP spread over processes, in one piece."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def spread_like(like: Tensor, value: Tensor) -> Tensor:
    """A whole tensor, spread over processes as ``like`` is."""
    return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value
