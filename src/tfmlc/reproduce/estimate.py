"""What a training run of the paper's tables costs, estimated from the counted operations and memory of a step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from tfmlc.backbones import Block
from tfmlc.config import read_record
from tfmlc.reproduce.cells import Run
from tfmlc.reproduce.inputs import GridConfig, recipe_of

INSTALLED = Path(__file__).parent  # the wheel has copies of the results
RESULTS = Path(__file__).parents[3] / "results" / "bench"
REFERENCE = "hinet, width 64"  # the network whose convolutions are the most regular
HOUR_S = 3600


class StepCost(BaseModel):
    """The cost of a training step with one image, as ``tfmlc bench step --count`` counts it.

    Attributes:
        network: The network.
        kind: The kind of the loss.
        side_px: The side of the image.
        backbone: The backbone of the loss, if it has one.
        block: The block of the loss, if it has one.
        tflop: The operations, in 10^12.
        image_mib: The memory for the backward pass, in fp32.
        fixed_mib: The memory for weights, gradients and the optimiser, in fp32.
    """

    network: str
    kind: str
    side_px: int
    backbone: str | None = None
    block: Block | None = None
    tflop: float
    image_mib: float
    fixed_mib: float


class StepCosts(BaseModel):
    """The results of ``tfmlc bench step --count``."""

    rows: list[StepCost]


class StepTime(BaseModel):
    """The time of a step, as ``tfmlc bench step`` measures it."""

    network: str
    loss: str
    seconds: float


class StepTimes(BaseModel):
    """The results of ``tfmlc bench step``."""

    rows: list[StepTime]


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a training run.

    Attributes:
        steps: The number of steps.
        batch_size: The number of patches in a step.
        patch_px: The side of the patches.
        hours: The hours on a GPU of the given speed.
        memory_gib: The memory on the GPU.
    """

    steps: int
    batch_size: int
    patch_px: int
    hours: float
    memory_gib: float


def step_costs() -> list[StepCost]:
    """Return the counted costs of a step; raises UserError if the file is damaged."""
    return read_record(
        _results("step_counts.json"), StepCosts, "a result of tfmlc bench step --count", "count again"
    ).rows


def slowness(network: str) -> float:
    """Return the time of an operation of a network relative to one of HINet, as measured with the pixel loss."""
    times = read_record(_results("step.json"), StepTimes, "a result of tfmlc bench step", "measure again").rows
    seconds = {row.network: row.seconds for row in times if row.loss == "control"}
    tflop = {row.network: row.tflop for row in step_costs() if row.kind == "control"}
    return (seconds[network] / tflop[network]) / (seconds[REFERENCE] / tflop[REFERENCE])


def _results(name: str) -> Path:
    return INSTALLED / name if (INSTALLED / name).exists() else RESULTS / name


def estimate(run: Run, config: GridConfig) -> Estimate | None:
    """Estimate the cost of a training run.

    Operations grow with the number of patches and their area. Memory grows with the patches that are computed at once.

    Args:
        run: The run.
        config: The settings, which name the speed of the GPU and can change the recipe.

    Returns:
        The estimate, or None if a step with this loss was not counted.
    """
    recipe = recipe_of(run, config)
    features = None if run.backbone is None else (run.backbone, run.block)
    for cost in step_costs():
        counted = None if cost.backbone is None else (cost.backbone, cost.block)
        if cost.network.split(",")[0] == recipe.network.name and (cost.kind, counted) == (recipe.loss.kind, features):
            loop, area = recipe.loop, (recipe.data.patch_px / cost.side_px) ** 2
            at_once = -(-loop.batch_size // loop.accumulate)
            tflop = loop.steps * loop.batch_size * area * cost.tflop * slowness(cost.network)
            memory = (cost.fixed_mib + at_once * area * cost.image_mib) / 1024
            hours = tflop / config.tflops / HOUR_S
            return Estimate(loop.steps, loop.batch_size, recipe.data.patch_px, hours, memory)
    return None
