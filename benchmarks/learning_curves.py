"""Learning curves of candidates for the default model: equal processor time, the same data, pairs that are held out.

python benchmarks/learning_curves.py DATA WORK [NAME ...] --hours 1 -o results/default/curves.json

DATA has photos/ (sharp), gopro/ and reds/ (pairs), and held-out/ (pairs of other scenes and moments).
Each candidate starts from random weights: straight shifts for a seventh of its steps, then the mixture of
``default-genuine``. Its number of steps is what one core does in the hours. The same command continues a stopped run,
and the results hold every candidate that is finished. A plot is written next to them.

The extrapolation is a line through the PSNR over the logarithm of the step, in the second half of the mixture. The
learning rate falls along it, which raises the line of every candidate.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from tfmlc.evaluation.plots import draw_curves
from tfmlc.io.files import write_atomically
from tfmlc.networks import build_network
from tfmlc.networks.network import count_parameters
from tfmlc.results import write_result
from tfmlc.runtime.device import fast_precision
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network
from tfmlc.typed import channels_last
from training_limits import validations

QUARTER: dict[str, Any] = {"width": 32, "depth": 4, "normalised_levels": [2, 3], "unshuffle": 4}
HALF: dict[str, Any] = {"width": 24, "depth": 4, "normalised_levels": [2, 3], "unshuffle": 2}
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "hinet-quarter": ("hinet", QUARTER),
    "hinet-quarter-head": ("hinet", {**QUARTER, "head": 16}),  # what ships
    "hinet-quarter-two-scales": ("hinet", {**QUARTER, "head": 16, "scales": 2}),
    "hinet-half": ("hinet", HALF),
    "nafnet-half": ("nafnet", {"width": 24, "encoder_blocks": [1, 1, 1, 16], "unshuffle": 2}),
    "spectral-unet": ("spectral-unet", {}),  # for long blur: several scales, modulated by the local spectrum
}
BATCH, PATCH_PX, FIRST, VALIDATIONS = 16, 192, 1 / 7, 12
LONGER = 8  # times as many steps, for the extrapolation
MEASURED_STEPS, OTHER_WORK = 3, 1.2  # a step also loads data and updates weights
LOOP = ["loop.precision=auto", "loop.ema_decay=0.997", "loop.save_every_steps=100"]


def seconds_of_step(name: str, sizes: dict[str, Any], batch: int, patch_px: int, *, fp32: bool = False) -> float:
    """The processor time of a forward and a backward pass, and of other work with it."""
    network = channels_last(build_network(name, **sizes))
    blurry = torch.rand(batch, 3, patch_px, patch_px).contiguous(memory_format=torch.channels_last)
    fast, best = not fp32 and fast_precision(torch.device("cpu")) == "bf16", float("inf")
    for _ in range(MEASURED_STEPS):
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            stages = network(blurry)
        torch.stack([(stage.float() - blurry).square().mean() for stage in stages]).sum().backward()
        best = min(best, time.process_time() - started)
    return best * OTHER_WORK


def plan(name: str, sizes: dict[str, Any], hours: float, path: Path) -> dict[str, float]:
    """The steps of a candidate: measured once, and read afterwards."""
    if not path.exists():
        step_s = seconds_of_step(name, sizes, BATCH, PATCH_PX)
        weights = count_parameters(build_network(name, **sizes))
        content = {"million_weights": round(weights / 1e6, 2), "seconds_per_step": round(step_s, 3)}
        write_atomically(path, json.dumps({**content, "steps": round(hours * 3600 / step_s)}).encode())
    return json.loads(path.read_text(encoding="utf-8"))


def train(candidate: str, steps: int, data: Path, work: Path) -> list[dict[str, Any]]:
    """Train a candidate in two stages; return its validations."""
    name, sizes = CANDIDATES[candidate]
    rows: list[dict[str, Any]] = []
    first = round(steps * FIRST)
    start = work / candidate / "first" / "weights.safetensors"
    straight = [f"data.photos=[{data / 'photos'}]", "data.prepare=4000", "blur_heads=0"]
    stages = {
        "first": ("default-first", first, None, [*straight, f"data.prepared={work / 'straight'}"]),
        "second": ("default-genuine", steps - first, str(start), mixture(data, work)),
    }
    for stage, (preset, count, weights, settings) in stages.items():
        network = json.dumps({"name": name, "sizes": sizes, "start": weights})
        loop = [
            *LOOP,
            f"loop.batch_size={BATCH}",
            f"loop.steps={count}",
            *validation(data, max(1, count // VALIDATIONS)),
        ]
        run = work / candidate / stage
        train_network(load_recipe(preset, [f"network={network}", *settings, *loop]), run)
        seen = 0 if stage == "first" else first
        rows += [{"stage": stage, **row, "step": int(row["step"]) + seen} for row in validations(run)]
    return rows


def mixture(data: Path, work: Path) -> list[str]:
    """The settings that name the data of ``default-genuine``."""
    settings = [f"data.sources.{source}.photos=[{data / 'photos'}]" for source in ("short", "long", "sharp")]
    for source in ("gopro", "reds"):
        settings += [f"data.sources.{source}.pairs={data / source}", f"data.sources.{source}.crops={work / source}"]
    return [*settings, "mesh=0", f"data.prepared={work / 'all'}"]


def validation(data: Path, every_steps: int) -> list[str]:
    """The settings of the validation on held-out pairs."""
    pairs = f"validation.pairs={data / 'held-out'}"
    return [pairs, "validation.images=15", f"validation.every_steps={every_steps}"]


def extrapolated(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The PSNR at the end, what a doubling of the steps adds, and the PSNR after ``LONGER`` times the steps."""
    seen = [(row["step"], row["psnr"]) for row in rows if row["stage"] == "second"]
    steps, psnr = np.array(seen[len(seen) // 2 :]).T
    slope, offset = map(float, np.polyfit(np.log2(steps), psnr, 1))
    longer = slope * math.log2(LONGER * steps[-1]) + offset
    numbers = {"psnr": psnr[-1], "db_per_doubling": slope, "psnr_longer": longer}
    return {name: round(float(value), 3) for name, value in numbers.items()}


def main(
    data: Path,
    work: Path,
    names: Annotated[list[str] | None, typer.Argument()] = None,
    hours: float = 1.0,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/default/curves.json"),
) -> None:
    """Train the candidates one after the other and write the results after each."""
    torch.set_num_threads(1)
    data, work = data.resolve(), work.resolve()
    earlier: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))["candidates"] if output.exists() else {}
    for candidate in names or CANDIDATES:
        of_plan = plan(*CANDIDATES[candidate], hours, work / candidate / "plan.json")
        rows = train(candidate, int(of_plan["steps"]), data, work)
        earlier[candidate] = {**of_plan, "hours": hours, **extrapolated(rows), "rows": rows}
        write_result(output, {"batch": BATCH, "patch_px": PATCH_PX, "longer": LONGER, "candidates": earlier})
    draw_curves(output.with_suffix(".png"), earlier)


if __name__ == "__main__":
    typer.run(main)
