"""What slows learning: the same processor time for variants of ``default-genuine``, from the same weights.

python benchmarks/learning_variants.py DATA WORK START [NAME ...] --minutes 10 -o results/default/variants.json

DATA and WORK are those of ``learning_curves.py``. START has the weights of ``hinet-quarter-head`` after its straight
shifts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from learning_curves import BATCH, CANDIDATES, LOOP, PATCH_PX, mixture, seconds_of_step, validation
from tfmlc.results import write_result
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network
from training_limits import validations

NETWORK, SIZES = CANDIDATES["hinet-quarter-head"]
VALIDATIONS = 3


class Variant(NamedTuple):
    """What differs from the preset."""

    settings: tuple[str, ...] = ()
    batch: int = BATCH
    patch_px: int = PATCH_PX
    random: bool = False
    """Start from random weights, without the straight shifts."""


VARIANTS = {
    "preset": Variant(),
    "8 crops": Variant(batch=8),
    "32 crops": Variant(batch=32),
    "36 crops of 128 px": Variant(batch=36, patch_px=128),
    "rate 0.0015": Variant(("loop.learning_rate=0.0015",)),
    "rate 0.006": Variant(("loop.learning_rate=0.006",)),
    "Adam, rate 0.0005": Variant(("loop.optimiser=adam", "loop.learning_rate=0.0005")),
    "Adam, rate 0.001": Variant(("loop.optimiser=adam", "loop.learning_rate=0.001")),
    "fp32": Variant(("loop.precision=fp32",)),
    "not clipped": Variant(("loop.gradient_clip=1e6",)),
    "without straight shifts": Variant(random=True),
}


def main(
    data: Path,
    work: Path,
    start: Path,
    names: Annotated[list[str] | None, typer.Argument()] = None,
    minutes: float = 10.0,
    seed: int = 0,
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/default/variants.json"),
) -> None:
    """Train the variants one after the other and write the results after each."""
    torch.set_num_threads(1)
    data, work, start = data.resolve(), work.resolve(), start.resolve()
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))["variants"] if output.exists() else {}
    for name in names or VARIANTS:
        settings, batch, patch_px, random = VARIANTS[name]
        seconds = seconds_of_step(NETWORK, SIZES, batch, patch_px, fp32="loop.precision=fp32" in settings)
        steps = round(60 * minutes / seconds)
        network = json.dumps({"name": NETWORK, "sizes": SIZES, "start": None if random else str(start)})
        size = [f"loop.batch_size={batch}", f"data.patch_px={patch_px}", f"loop.steps={steps}", f"loop.seed={seed}"]
        every = [*mixture(data, work), *LOOP, *validation(data, -(-steps // VALIDATIONS))]
        run = work / f"variants-seed-{seed}" / name.replace(" ", "-")
        train_network(load_recipe("default-genuine", [f"network={network}", *every, *size, *settings]), run)
        rows = [{"step": row["step"], "psnr": row["psnr"]} for row in validations(run)]
        found[name] = {"batch": batch, "patch_px": patch_px, "steps": steps, "rows": rows}
        write_result(output, {"minutes": minutes, "seed": seed, "variants": found})


if __name__ == "__main__":
    typer.run(main)
