"""What limits the training of the default model: data (two experiments), capacity or time.

python benchmarks/training_limits.py gap MODEL NAME=PAIRS ... -o results/default/limits-data.json
python benchmarks/training_limits.py sources NAME=RUN ... --sets NAME=PAIRS --sets ... -o results/default/sources.json
python benchmarks/training_limits.py memory MODEL PAIRS -o results/default/limits-capacity.json
python benchmarks/training_limits.py time NAME=RUN ... -o results/default/limits-time.json
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from tfmlc.config import read_yaml
from tfmlc.data.datasets.choice import evenly
from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.weights import find_model
from tfmlc.losses.pixel import psnr_loss
from tfmlc.metrics.registry import score_images
from tfmlc.networks import load_network
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.hooks import centred
from tfmlc.training.muon import Muon
from tfmlc.training.schedule import Cosine

SIDE_PX, IMAGES = 512, 15
CROP_PX, BATCH, STEPS, HIGHEST = 128, 8, 150, 0.003
CROPS = (16, 64, 256)
Output = Annotated[Path, typer.Option("-o", "--output")]
app = typer.Typer()


@app.command()
def gap(model: str, sets: list[str], output: Output) -> None:
    """The gain in PSNR on pairs that were trained on, on other moments of the same scene, and on other scenes."""
    rows = mean_gains(model, sets)
    for row in rows:
        typer.echo(row)
    write_result(output, {"model": model, "side_px": SIDE_PX, "rows": rows})


@app.command()
def sources(runs: list[str], sets: Annotated[list[str], typer.Option()], output: Output) -> None:
    """The gain of runs with different sources of training pairs, on scenes that none of them was trained on."""
    rows: list[dict[str, object]] = []
    for name, folder in (run.split("=") for run in runs):
        config = read_yaml(Path(folder) / "config.yaml")
        shares = {source: values["fraction"] for source, values in config["data"]["sources"].items()}
        gains = mean_gains(str(Path(folder) / "weights.safetensors"), sets)
        norms = [event.value for event in logged(Path(folder))["gradient_norm"]]
        median, high = (round(float(value), 1) for value in np.quantile(norms, [0.5, 0.9]))
        of_gradient = {"gradient_norm_median": median, "gradient_norm_90": high}
        rows.append({"run": name, "steps": config["loop"]["steps"], "shares": shares, "gains": gains, **of_gradient})
        typer.echo(rows[-1])
    write_result(output, {"side_px": SIDE_PX, "rows": rows})


def mean_gains(model: str, sets: list[str]) -> list[dict[str, object]]:
    """The mean gain in PSNR in the middle of the images of each set, ``NAME=FOLDER``."""
    deblur = Deblurrer(load_network(find_model(model)), precision="fp32").unguarded()
    rows: list[dict[str, object]] = []
    for name, folder in (one.split("=") for one in sets):
        found: list[tuple[float, float]] = []
        for blurry, sharp in (centred(read_pair(pair), SIDE_PX) for pair in evenly(find_pairs(Path(folder)), IMAGES)):
            restored = deblur(blurry, on_unreliable=print)
            found.append(tuple(score_images(image, sharp, ["psnr"])["psnr"] for image in (blurry, restored)))
        before, after = (float(value) for value in np.mean(found, axis=0))
        rows.append(
            {"pairs": name, "images": len(found), "blurry": round(before, 3), "gain_db": round(after - before, 3)}
        )
    return rows


@app.command()
def memory(model: str, pairs: Path, output: Output) -> None:
    """The gain on a few crops after training on them alone: what the network could hold, if it learned it."""
    rng, found = np.random.default_rng(0), find_pairs(pairs)
    crops = torch.stack([crop_of(read_pair(found[int(rng.integers(len(found)))]), rng) for _ in range(max(CROPS))])
    rows: list[dict[str, object]] = []
    for count in CROPS:
        network = copy.deepcopy(load_network(find_model(model))).train()
        optimiser = Muon(list(network.parameters()), lr=HIGHEST)
        schedule = Cosine(steps=STEPS, highest=HIGHEST, lowest=HIGHEST / 100)
        before = gain(network, crops[:count])
        with Progress(f"{count} crops", STEPS) as progress:
            for step in range(STEPS):
                for group in optimiser.param_groups:
                    group["lr"] = schedule.rate(step)
                some = crops[torch.from_numpy(rng.integers(count, size=BATCH))]
                loss = psnr_loss(network(some[:, 0])[-1], some[:, 1])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                progress.advance()
        rows.append({"crops": count, "before_db": before, "after_db": gain(network, crops[:count])})
        typer.echo(rows[-1])
    write_result(output, {"model": model, "steps": STEPS, "batch": BATCH, "crop_px": CROP_PX, "rows": rows})


@app.command()
def time(runs: list[str], output: Output) -> None:
    """The PSNR of the held-out frames over the crops that were seen, with the rate at each point."""
    named = [run.split("=") for run in runs]
    write_result(
        output, {"rows": [{"run": name, **row} for name, folder in named for row in validations(Path(folder))]}
    )


def validations(run: Path) -> Iterator[dict[str, Any]]:
    """The validations of a run: step, PSNR and, if it was logged at that step, the learning rate."""
    scalars = logged(run)
    rates = {event.step: event.value for event in scalars["learning_rate"]}
    for event in {event.step: event for event in scalars["validation/psnr"]}.values():  # once, if it was resumed
        rate = rates.get(event.step)
        row = {"step": event.step, "psnr": round(event.value, 3)}
        yield {**row, "learning_rate": None if rate is None else round(rate, 6)}


def logged(run: Path) -> dict[str, list[Any]]:
    """The scalars in the logs of a run, with their steps."""
    scalars: dict[str, list[Any]] = defaultdict(list)
    for path in sorted(run.rglob("events*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            scalars[name] += events.Scalars(name)
    return scalars


def crop_of(pair: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> Tensor:
    height, width = pair[0].shape[:2]
    top, left = int(rng.integers(height - CROP_PX)), int(rng.integers(width - CROP_PX))
    return torch.stack([to_tensor(image[top : top + CROP_PX, left : left + CROP_PX]) for image in pair])


@torch.no_grad()
def gain(network: torch.nn.Module, crops: Tensor) -> float:
    pairs = [(one[None, 0], one[None, 1]) for one in crops]
    gains = [psnr_loss(blurry, sharp) - psnr_loss(network(blurry)[-1], sharp) for blurry, sharp in pairs]
    return round(float(torch.stack(gains).mean()), 3)


if __name__ == "__main__":
    app()
