"""The time and the memory that a feature loss adds to a training step of the paper's networks."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode

from tfmlc.backbones import BACKBONES
from tfmlc.losses import FeatureMatchingLoss
from tfmlc.losses.objectives import FeatureLoss
from tfmlc.networks import NETWORKS, build_network
from tfmlc.runtime.device import autocast, resolve_precision
from tfmlc.runtime.progress import Progress
from tfmlc.training.objective import LossConfig, Restoration, build_feature_loss
from tfmlc.typed import channels_last

MEASURED: dict[str, tuple[str, dict[str, Any]]] = {
    "hinet, width 64": ("hinet", {"width": 64}),
    "mprnet-lite": ("mprnet-lite", {}),
}
LOSSES: dict[str, dict[str, Any]] = {
    "control": {"kind": "control"},
    "FMLC": {"kind": "fmlc", "weights": "random"},
    "TFMLC, flatten": {"kind": "tfmlc", "weights": "random", "adapter": "random"},
    "TFMLC, token": {"kind": "tfmlc", "weights": "random", "adapter": "random", "adapter_mode": "token"},
    "VGG-relu3_3": {"kind": "fmlc", "backbone": "vgg16", "block": 2, "weights": "random"},
    "LPIPS-vgg": {"kind": "LPIPS-vgg"},
}
TABLE_LOSSES: dict[str, dict[str, Any]] = {  # the other losses of the paper's Tables 2 and 3
    **{
        f"FMLC, {name}": {"kind": "fmlc", "backbone": name, "block": "final", "weights": "random"}
        for name in BACKBONES
        if name.startswith("clip")
    },
    **{
        f"TFMLC, block {block}": {"kind": "tfmlc", "block": block, "weights": "random", "adapter": "random"}
        for block in (1, 5, 7, 9, 11)
    },
}


def bench_steps(repeats: int = 3, *, batch: int = 1, side_px: int = 256) -> list[dict[str, Any]]:
    """Measure the forward and backward pass of a training step with each loss, on the CPU.

    The precision is the one that training uses on this CPU. The weights are random, because the cost does not depend
    on them.

    Args:
        repeats: The number of runs. The fastest one counts.
        batch: The number of images.
        side_px: The side of the images.

    Returns:
        Rows with seconds. ``relative`` compares with the step with the pixel loss only.
    """
    rows: list[dict[str, Any]] = []
    device = torch.device("cpu")
    precision = resolve_precision(device, "auto")
    torch.manual_seed(0)
    blurry, sharp = (torch.rand(batch, 3, side_px, side_px) for _ in range(2))
    with Progress("steps", len(MEASURED) * len(LOSSES)) as progress:
        for title, (name, sizes) in MEASURED.items():
            network = measured_network(name, sizes)
            plain = 0.0
            for loss, settings in LOSSES.items():
                objective = Restoration(NETWORKS[name].family, build_feature_loss(LossConfig(**settings), device), 1e-3)
                seconds: list[float] = []
                for _ in range(repeats + 1):
                    network.zero_grad(set_to_none=True)
                    started = time.perf_counter()
                    with autocast(device, precision):
                        value = objective(network, (blurry, sharp))["loss"]
                    value.backward()
                    seconds.append(time.perf_counter() - started)
                best = min(seconds[1:])  # the first run also makes copies that are kept
                plain = plain or best
                row = {"network": title, "loss": loss, "precision": precision, "seconds": round(best, 4)}
                rows.append({**row, "relative": round(best / plain, 3)})
                progress.advance()
    return rows


def count_steps(*, side_px: int = 256) -> list[dict[str, Any]]:
    """Count the operations and the memory of a training step with one image, with each loss of the paper's tables.

    They are counted in fp32, with random weights, and do not depend on the machine. The operations and the memory of
    the networks grow with the area, so they are counted on a smaller image; losses resize images to a fixed size.

    Args:
        side_px: The side of the image, a multiple of 64.

    Returns:
        Rows with ``tflop``, the operations in 10^12; ``image_mib``, what the step keeps for its backward pass; and
        ``fixed_mib``, the weights, their gradients, Adam's two averages, and the weights of the loss.
    """
    rows: list[dict[str, Any]] = []
    device, parts = torch.device("cpu"), (side_px // 64) ** 2
    torch.manual_seed(0)
    pair = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    for title, (name, sizes) in MEASURED.items():
        network, family = measured_network(name, sizes), NETWORKS[name].family
        alone = count_step(Restoration(family), network, pair)
        losses = {**LOSSES, **TABLE_LOSSES} if name == "hinet" else LOSSES
        with Progress(title, len(losses)) as progress:
            for loss, settings in losses.items():
                config = LossConfig(**settings)
                progress.advance()
                if config.kind not in ("control", "fmlc", "tfmlc"):  # not of the paper's tables
                    continue
                counted = count_step(Restoration(family, build_feature_loss(config, device)), network, pair)
                for key in ("tflop", "image_mib"):
                    counted[key] = round(counted[key] + (parts - 1) * alone[key], 4)
                row: dict[str, Any] = {"network": title, "loss": loss, "kind": config.kind}
                if config.kind != "control":
                    row |= {"backbone": config.backbone, "block": config.block}
                rows.append({**row, "side_px": side_px, **counted})
    return rows


def measured_network(name: str, sizes: dict[str, Any]) -> nn.Module:
    """Build a network with random weights whose output is in range."""
    network = channels_last(build_network(name, **sizes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)  # else the output of a random network this deep is far outside [0, 1]
    return network


def count_step(objective: Restoration, network: nn.Module, pair: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Count the operations and the memory of a step in fp32.

    Args:
        objective: The objective of the step.
        network: The network.
        pair: The blurry and the sharp images.

    Returns:
        ``tflop``, ``image_mib`` and ``fixed_mib`` of ``count_steps``.
    """
    frozen, trained = _frozen_tensors(objective.feature_loss), list(network.parameters())
    weights = {StorageWeakRef(tensor.untyped_storage()) for tensor in (*trained, *frozen)}
    kept: dict[StorageWeakRef, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if (known := StorageWeakRef(storage)) not in weights:
            kept[known] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        objective(network, pair)["loss"].backward()
    fixed = 4 * sum(tensor.nbytes for tensor in trained) + sum(tensor.nbytes for tensor in frozen)
    return {
        "tflop": counter.get_total_flops() / len(pair[0]) / 1e12,
        "image_mib": sum(kept.values()) / len(pair[0]) / 2**20,
        "fixed_mib": round(fixed / 2**20),
    }


def _frozen_tensors(loss: FeatureLoss | None) -> list[Tensor]:
    """Return the weights of a feature loss, which then computes with these and not with a frozen copy."""
    if isinstance(loss, FeatureMatchingLoss):
        parts = [part for part in (loss.backbone, loss.adapter) if part is not None]
    else:
        parts = [loss] if isinstance(loss, nn.Module) else []
    for part in parts:
        part.eval().requires_grad_(False)
    return [tensor for part in parts for tensor in part.state_dict().values()]
