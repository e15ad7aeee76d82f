"""A simulation of training on many GPUs: how long a step waits for the exchange of gradients.

The order and the sizes of the gradients, and when each is ready, are measured in a real backward pass. The speed of the
GPUs and of the links between them are assumptions that are written into the results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tfmlc.bench.step import MEASURED, count_step, measured_network
from tfmlc.networks import NETWORKS
from tfmlc.training.objective import Restoration

GPUS = (1, 2, 4, 8, 16, 32, 64)
IMAGES = (1, 8)  # of SIDE_PX, on each GPU
SPEEDS = {"fp32": 6.8, "bf16": 62.0}  # TFLOP/s that a GPU sustains: 35 % and 20 % of what NVIDIA states for an A100
SIDE_PX, COUNTED_PX = 256, 64
BUCKET_BYTES, FIRST_BUCKET_BYTES = 25 * 2**20, 2**20  # of DistributedDataParallel
BYTES = 4  # gradients are exchanged in fp32
Scheme = Literal["DDP", "FSDP2"]
SCHEMES: tuple[Scheme, ...] = ("DDP", "FSDP2")


@dataclass(frozen=True)
class Links:
    """The assumed links between GPUs.

    Attributes:
        node_gpus: The number of GPUs in a node.
        inside_gb_s: What a GPU sends and receives inside a node, in GB/s.
        between_gb_s: What a GPU sends and receives between nodes, in GB/s.
        latency_us: The time of a message without content, in microseconds.
    """

    node_gpus: int = 8
    inside_gb_s: float = 200.0
    between_gb_s: float = 20.0
    latency_us: float = 15.0

    def seconds(self, size: float, gpus: int, *, trips: int) -> float:
        """Return the time of a collective operation on a ring of ``gpus``.

        Args:
            size: The size of the whole, in bytes.
            gpus: The number of GPUs.
            trips: 2 for an all-reduce, 1 for an all-gather or a reduce-scatter.
        """
        if gpus == 1:
            return 0.0
        speed = self.inside_gb_s if gpus <= self.node_gpus else self.between_gb_s
        return trips * ((gpus - 1) / gpus * size / (speed * 1e9) + math.ceil(math.log2(gpus)) * self.latency_us * 1e-6)


@dataclass(frozen=True)
class Timeline:
    """The course of a step on one GPU.

    Attributes:
        forward_s: The time of the forward pass.
        backward_s: The time of the backward pass.
        gradients: When each gradient is ready, as a part of the backward pass, and its number of values.
    """

    forward_s: float
    backward_s: float
    gradients: tuple[tuple[float, int], ...]

    def at_speed(self, seconds: float) -> Timeline:
        """Return the timeline of a step that takes ``seconds`` in all."""
        factor = seconds / (self.forward_s + self.backward_s)
        return replace(self, forward_s=self.forward_s * factor, backward_s=self.backward_s * factor)


def buckets_of(gradients: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Collect gradients into buckets, as DistributedDataParallel does; return when each is full, and its bytes.

    >>> buckets_of([(0.1, 200_000), (0.5, 100_000), (0.9, 5_000_000), (1.0, 10)])
    [(0.5, 1200000), (1.0, 20000040)]
    """
    found: list[tuple[float, int]] = []
    held = 0
    for ready, values in gradients:
        held += values * BYTES
        if held >= (BUCKET_BYTES if found else FIRST_BUCKET_BYTES):
            found.append((ready, held))
            held = 0
    return [*found, (gradients[-1][0], held)] if held else found


def simulate(step: Timeline, gpus: int, links: Links, scheme: Scheme = "DDP") -> float:
    """Return the time of a step on ``gpus`` GPUs, each of which computes ``step``.

    With DDP, a bucket of gradients is sent while the backward pass goes on. With FSDP2 the network is one part: its
    weights are collected before the step, and its gradients are spread after it.

    >>> step = Timeline(1.0, 2.0, ((0.5, 1_000_000), (1.0, 1_000_000)))
    >>> simulate(step, 1, Links()), round(simulate(step, 64, Links(latency_us=0)), 4)
    (3.0, 3.0004)
    """
    if scheme == "FSDP2":
        size = BYTES * sum(values for _, values in step.gradients)
        return step.forward_s + step.backward_s + 2 * links.seconds(size, gpus, trips=1)
    end = 0.0
    for ready, size in buckets_of(step.gradients):
        end = max(end, ready * step.backward_s) + links.seconds(size, gpus, trips=2)
    return step.forward_s + max(step.backward_s, end)


def measure_timeline(network: nn.Module, name: str, side_px: int = 128) -> Timeline:
    """Measure when the gradients of a network are ready, in a step with the pixel loss on this processor."""
    objective = Restoration(NETWORKS[name].family)
    pair = torch.rand(1, 3, side_px, side_px), torch.rand(1, 3, side_px, side_px)
    ready: list[tuple[float, int]] = []

    def note(weight: Tensor) -> None:
        ready.append((time.perf_counter(), weight.numel()))

    def step() -> Timeline:
        ready.clear()
        network.zero_grad(set_to_none=True)
        started = time.perf_counter()
        loss = objective(network, pair)["loss"]
        middle = time.perf_counter()
        loss.backward()
        backward = time.perf_counter() - middle
        gradients = tuple(((at - middle) / backward, values) for at, values in ready)
        return Timeline(middle - started, backward, gradients)

    handles: list[Any] = [weight.register_post_accumulate_grad_hook(note) for weight in network.parameters()]
    try:
        step()  # also makes copies that are kept
        return step()
    finally:
        for handle in handles:
            handle.remove()


def bench_scaling(links: Links | None = None) -> dict[str, Any]:
    """Simulate training steps of the paper's networks on 1 to 64 GPUs.

    Args:
        links: The links between the GPUs.

    Returns:
        ``rows`` with the time of a step, the time of its computation, and ``efficiency``, the ratio of the two; and
        the assumptions.
    """
    links = links or Links()
    rows: list[dict[str, Any]] = []
    for title, (name, sizes) in MEASURED.items():
        network = measured_network(name, sizes)
        timeline = measure_timeline(network, name)
        pair = torch.rand(1, 3, COUNTED_PX, COUNTED_PX), torch.rand(1, 3, COUNTED_PX, COUNTED_PX)
        tflop = count_step(Restoration(NETWORKS[name].family), network, pair)["tflop"] * (SIDE_PX / COUNTED_PX) ** 2
        millions = round(sum(values for _, values in timeline.gradients) / 1e6, 1)
        for (precision, speed), images, scheme in product(SPEEDS.items(), IMAGES, SCHEMES):
            step = timeline.at_speed(images * tflop / speed)
            alone = step.forward_s + step.backward_s
            case = {"network": title, "million_weights": millions, "precision": precision, "images": images}
            for gpus in GPUS:
                seconds = simulate(step, gpus, links, scheme)
                times = {"step_ms": round(1000 * seconds, 2), "computed_ms": round(1000 * alone, 2)}
                rows.append({**case, "scheme": scheme, "gpus": gpus, **times, "efficiency": round(alone / seconds, 4)})
    return {"rows": rows, "assumed": {"tflops": SPEEDS, "side_px": SIDE_PX, "links": asdict(links)}}
