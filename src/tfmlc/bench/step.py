"""The time that a feature loss adds to a training step of the paper's networks."""

from __future__ import annotations

import time
from typing import Any

import torch

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
    "pixels only": {"kind": "control"},
    "FMLC": {"kind": "fmlc", "weights": "random"},
    "TFMLC, flatten": {"kind": "tfmlc", "weights": "random", "adapter": "random"},
    "TFMLC, token": {"kind": "tfmlc", "weights": "random", "adapter": "random", "adapter_mode": "token"},
    "VGG-relu3_3": {"kind": "fmlc", "backbone": "vgg16", "block": 2, "weights": "random"},
    "LPIPS-vgg": {"kind": "LPIPS-vgg"},
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
            network = channels_last(build_network(name, **sizes))
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.mul_(0.5)  # else the output of a random network this deep is far outside [0, 1]
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
