"""The tensors of a saved state: weights, averaged weights, moments of the optimiser, and buffers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tfmlc.errors import UserError


def collect_tensors(
    module: nn.Module, ema: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return the tensors of a run on the CPU, under names such as ``weights.NAME``. Every process must call this."""
    tensors = {f"ema.{name}": value for name, value in ema.items()}
    for name, parameter in module.named_parameters():
        tensors[f"weights.{name}"] = parameter.detach()
        for moment, value in optimiser.state[parameter].items():
            tensors[f"{moment}.{name}"] = value
    tensors |= {f"buffer.{name}": value for name, value in module.named_buffers()}
    return {name: whole(value).cpu().contiguous() for name, value in tensors.items()}


def check_tensors(path: Path, tensors: Mapping[str, Tensor], module: nn.Module, ema: Mapping[str, Tensor]) -> None:
    """Raise UserError if a saved state is not a state of this module."""
    wanted = {f"{kind}.{name}": value for name, value in ema.items() for kind in ("weights", "ema")}
    wanted |= {f"buffer.{name}": value for name, value in module.named_buffers()}
    for name, value in wanted.items():
        if name not in tensors or tensors[name].shape != value.shape:
            what = "does not have" if name not in tensors else "has another shape of"
            raise UserError(f"{path} is the state of another network: it {what} {name.partition('.')[2]}")


def restore_tensors(
    tensors: Mapping[str, Tensor],
    module: nn.Module,
    ema: Mapping[str, Tensor],
    optimiser: torch.optim.Optimizer | None,
) -> None:
    """Copy the tensors of a saved state into a module, its averaged weights and, if it is the same, its optimiser."""
    with torch.no_grad():
        for name, value in module.named_buffers():
            value.copy_(tensors[f"buffer.{name}"])
        for name, parameter in module.named_parameters():
            parameter.copy_(spread_like(parameter, tensors[f"weights.{name}"]))
            ema[name].copy_(spread_like(parameter, tensors[f"ema.{name}"]))
            if optimiser is None:
                continue
            state: dict[str, Tensor] = {}
            for key, value in tensors.items():
                moment, _, owner = key.partition(".")
                if owner == name and moment not in ("weights", "ema"):
                    like = parameter if value.shape == parameter.shape else value
                    state[moment] = torch.empty_like(like).copy_(spread_like(like, value))  # keeps the memory format
            optimiser.state[parameter] = state


def whole(value: Tensor) -> Tensor:
    """Return a tensor in one piece, also if FSDP spread it over the processes."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def spread_like(like: Tensor, value: Tensor) -> Tensor:
    """Spread a whole tensor over the processes in the same way as ``like``."""
    return distribute_tensor(value, like.device_mesh, like.placements) if isinstance(like, DTensor) else value
