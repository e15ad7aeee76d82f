"""Files of adapters: those of ``tfmlc adapt``, and checkpoints that the paper's authors published."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors
from tfmlc.losses.adapter import DEFAULT_BLOCK, Adapter, MadeFor

AUTHORS_WIDTH = 768  # features per token of CLIP ViT-B/16


def read_adapter(path: Path) -> tuple[Adapter, MadeFor, Path | None]:
    """Read an adapter, what it was made for, and the file of the backbone's weights if the authors made it."""
    tensors, info = read_tensors(path)
    authors = any(name.startswith("mlp.") for name in tensors)
    if not authors and info.kind != "adapter":
        held = info.kind or f"tensors named {', '.join(list(tensors)[:3])}"
        raise UserError(f"{path} holds no adapter: it holds {held}")
    adapter = _authors_adapter(path, tensors) if authors else Adapter.from_tensors(path, tensors, info)
    if adapter.made_for is None:
        raise UserError(f"{path} does not name its backbone: use Adapter.load and give the loss a backbone")
    return adapter, adapter.made_for, path if authors else None


def _authors_adapter(path: Path, tensors: dict[str, Tensor]) -> Adapter:
    """Return the adapter of a checkpoint that the paper's authors published; it also holds the backbone's weights."""
    layers = {name.removeprefix("mlp."): value for name, value in tensors.items() if name.startswith("mlp.")}
    if layers.get("0.weight", torch.empty(0)).dim() != 2:
        raise UserError(
            f"{path} is not a checkpoint of the paper's authors: mlp.0.weight is missing or has a wrong shape"
        )
    hidden, inputs = layers["0.weight"].shape
    made_for = MadeFor("clip-vit-b16", DEFAULT_BLOCK)
    sizes = {"mode": "flatten", "tokens": inputs // AUTHORS_WIDTH, "width": AUTHORS_WIDTH, "hidden": hidden}
    info = CheckpointInfo("adapter", made_for.backbone, {**sizes, "made_for": asdict(made_for)}, path.name)
    return Adapter.from_tensors(path, layers, info)
