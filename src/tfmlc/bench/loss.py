"""The time and memory of a step with each loss, measured in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tfmlc.backbones import build_backbone
from tfmlc.bench.measure import PeakMemory, give_back_memory
from tfmlc.bench.released_loss import ReleasedLoss
from tfmlc.errors import UserError
from tfmlc.losses import BASELINES, Adapter, BaselineLoss, FeatureMatchingLoss
from tfmlc.runtime.device import fast_precision
from tfmlc.runtime.progress import Progress

BLOCK, STAGES, BATCH, SIDE_PX = 3, 3, 4, 256
RELEASED = {True: "released procedure", False: "released procedure, samples at once"}
WIDTH, TOKENS, PATCH, HEADS, HIDDEN = 768, 197, 16, 12, 1024


@dataclass(frozen=True)
class Step:
    """A step to measure.

    Attributes:
        run: Takes the step.
        forget: Drops the gradients of the step.
    """

    run: Callable[[], None]
    forget: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Cost:
    """The time of a step in seconds, and the memory it needs in addition to the memory in use before, in MiB."""

    seconds: float
    extra_mib: float


def bench_loss(repeats: int = 5) -> list[dict[str, Any]]:
    """Measure the forward and backward pass of each loss on 3 stages of 4 images of 256 px, on the CPU.

    It is measured in fp32, and in bf16 where the processor is fast at it; elsewhere bf16 takes minutes for a step.

    The losses are the one that ships, FMLC and TFMLC on block 3 of ViT-B/16, the released procedures of
    ``released_loss``, LPIPS and DISTS. The bare matrix products that FMLC and TFMLC need are measured too. Weights are
    random where the cost does not depend on them.

    Args:
        repeats: The number of runs. The fastest one counts.

    Returns:
        Rows with seconds and extra memory in MiB, or the reason why a loss is not available.
    """
    torch.manual_seed(0)
    backbone = build_backbone("clip-vit-b16", None)
    adapter = Adapter(mode="flatten", tokens=TOKENS, width=WIDTH, hidden=HIDDEN).eval()
    sharp = torch.rand(BATCH, 3, SIDE_PX, SIDE_PX)
    stages = [torch.rand_like(sharp).requires_grad_() for _ in range(STAGES)]
    rows: list[dict[str, Any]] = []
    makers: dict[str, Callable[[], Step]] = {
        "default": lambda: _step(FeatureMatchingLoss(), stages, sharp),
        "FMLC": lambda: _step(FeatureMatchingLoss(backbone, block=BLOCK), stages, sharp),
        "TFMLC": lambda: _step(FeatureMatchingLoss(backbone, block=BLOCK, adapter=adapter), stages, sharp),
        **{
            f"{name}, {kind}": lambda part=part, looped=looped: _step(
                ReleasedLoss(BLOCK, part, looped=looped), stages, sharp
            )
            for looped, kind in RELEASED.items()
            for name, part in (("FMLC", None), ("TFMLC", adapter))
        },
        "FMLC, bare products": lambda: _bare_products(adapted=False),
        "TFMLC, bare products": lambda: _bare_products(adapted=True),
        **{name: lambda name=name: _step(BaselineLoss(name), stages, sharp) for name in BASELINES},
    }
    precisions = dict.fromkeys(("fp32", fast_precision(torch.device("cpu"))))
    with Progress("losses", len(precisions) * len(makers)) as progress:
        for precision in precisions:
            for name, make in makers.items():
                row: dict[str, Any] = {"loss": name, "precision": precision}
                try:
                    cost = _measure(make(), repeats, low=precision == "bf16")
                    row |= {"seconds": round(cost.seconds, 4), "extra_mib": round(cost.extra_mib, 1)}
                except UserError as error:
                    row["unavailable"] = str(error)
                rows.append(row)
                progress.advance()
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Compare FMLC and TFMLC with the released procedure and with the bare matrix products.

    Args:
        rows: The rows of ``bench_loss``.

    Returns:
        Ratios by loss and precision. ``times_faster_at_once`` compares with the released procedure without its loop
        over the samples.

    Example:
        >>> names = ["TFMLC", *(f"TFMLC, {name}" for name in RELEASED.values()), "TFMLC, bare products"]
        >>> costs = zip(names, [2.0, 8.0, 7.0, 1.6], [10.0, 40.0, 40.0, 1.0])
        >>> summary([{"loss": n, "precision": "fp32", "seconds": s, "extra_mib": m} for n, s, m in costs])["TFMLC fp32"]
        {'times_faster': 4.0, 'times_faster_at_once': 3.5, 'memory': 0.25, 'over_bare_products': 1.25}
    """
    found = {(row["loss"], row["precision"]): row for row in rows if "seconds" in row}
    ratios: dict[str, dict[str, float]] = {}
    for (name, precision), row in found.items():
        others = [found.get((f"{name}, {kind}", precision)) for kind in (*RELEASED.values(), "bare products")]
        there = [other for other in others if other is not None]
        if len(there) == len(others):
            released, at_once, bare = there
            ratios[f"{name} {precision}"] = {
                "times_faster": round(released["seconds"] / row["seconds"], 2),
                "times_faster_at_once": round(at_once["seconds"] / row["seconds"], 2),
                "memory": round(row["extra_mib"] / released["extra_mib"], 3),
                "over_bare_products": round(row["seconds"] / bare["seconds"], 2),
            }
    return ratios


def _step(loss: nn.Module, stages: Sequence[Tensor], sharp: Tensor) -> Step:
    def run() -> None:
        loss(stages, sharp).backward()

    def forget() -> None:
        for stage in stages:
            stage.grad = None
        loss.zero_grad(set_to_none=True)

    return Step(run, forget)


def _measure(step: Step, repeats: int, *, low: bool) -> Cost:
    seconds: list[float] = []
    for _ in range(repeats + 1):
        step.forget()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            started = time.perf_counter()
            step.run()
            seconds.append(time.perf_counter() - started)
    step.forget()
    gc.collect()
    give_back_memory()
    with PeakMemory() as peak, torch.autocast("cpu", torch.bfloat16, enabled=low):
        step.run()
    step.forget()
    return Cost(min(seconds[1:]), peak.extra_mib)  # the first run also makes copies that are kept


def _bare_products(*, adapted: bool) -> Step:
    """Return a step that only computes the matrix products of the loss and of its gradient for the restored images."""
    products: list[tuple[Tensor, Tensor, int]] = []
    generator = torch.Generator().manual_seed(0)

    def add(rows: int, inner: int, columns: int, count: int = 1, batch: int = 0) -> None:
        shape = (batch,) if batch else ()
        left = torch.randn(*shape, rows, inner, generator=generator)
        right = torch.randn(*shape, inner, columns, generator=generator)
        products.append((left, right, count))

    head = WIDTH // HEADS
    for images, backward in ((BATCH, False), (BATCH * STAGES, False), (BATCH * STAGES, True)):
        tokens, blocks, pixels = images * TOKENS, BLOCK + 1, 3 * PATCH**2
        patches = images * (TOKENS - 1)
        add(patches, WIDTH, pixels) if backward else add(patches, pixels, WIDTH)
        for inputs, outputs in ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)):
            add(tokens, *((outputs, inputs) if backward else (inputs, outputs)), count=blocks)
        for inner, columns in ((head, TOKENS), (TOKENS, head)):
            add(TOKENS, inner, columns, count=blocks * (2 if backward else 1), batch=images * HEADS)
        if adapted:
            for inputs, outputs in ((TOKENS * WIDTH, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, HIDDEN)):
                add(images, *((outputs, inputs) if backward else (inputs, outputs)))
    low = [(left.bfloat16(), right.bfloat16(), count) for left, right, count in products]

    def run() -> None:
        chosen = low if torch.is_autocast_enabled("cpu") else products
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            for left, right, count in chosen:
                for _ in range(count):
                    torch.matmul(left, right)

    return Step(run)
