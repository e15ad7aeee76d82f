"""Scores of models on pairs that were held out from training: what models and blend factors are chosen by.

python benchmarks/held_out.py PAIRS/ MODEL [MODEL ...] -o results/default/held-out.json
python benchmarks/held_out.py PAIRS/ ONE OTHER --blends 0,0.5,1 -o results/default/blend-factors.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.io.weights import find_model
from tfmlc.metrics.registry import score_images
from tfmlc.networks import Network, blend_networks, load_network
from tfmlc.results import write_result
from tfmlc.training.hooks import centred

SCORES = ["psnr", "lpips", "dists", "periodicity"]
SIDE_PX = 512


def main(
    pairs: Path,
    models: list[str],
    output: Annotated[Path, typer.Option("-o", "--output")],
    blends: Annotated[str | None, typer.Option(help="Blend factors between two models, separated by commas.")] = None,
) -> None:
    networks = {Path(model).stem: load_network(find_model(model)) for model in models}
    if blends is not None:
        networks = {factor: blend_networks(*networks.values(), float(factor)) for factor in blends.split(",")}
    named = [(pair.name.split("_")[0].lower(), *centred(read_pair(pair), SIDE_PX)) for pair in find_pairs(pairs)]
    rows = [{"model": "blurry", **_means([(of, score_images(blurry, sharp, SCORES)) for of, blurry, sharp in named])}]
    for name, network in networks.items():
        rows.append({"model": name, **_means(_scores(network, named))})
        typer.echo(rows[-1])
    write_result(output, {"images": len(named), "side_px": SIDE_PX, "rows": rows})


def _scores(network: Network, named: list[tuple[str, np.ndarray, np.ndarray]]) -> list[tuple[str, dict[str, float]]]:
    deblur = Deblurrer(network, precision="fp32").unguarded()
    return [(of, score_images(deblur(blurry, on_unreliable=print), sharp, SCORES)) for of, blurry, sharp in named]


def _means(scores: list[tuple[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean scores of each source of pairs."""
    return {
        source: {name: round(float(np.mean([row[name] for of, row in scores if of == source])), 4) for name in SCORES}
        for source in sorted({of for of, _ in scores})
    }


if __name__ == "__main__":
    typer.run(main)
