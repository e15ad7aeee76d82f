"""How far to go from a model to one finetuned from it: scores of the blends on pairs of images.

python benchmarks/blend_factors.py default-psnr finetuned.safetensors pairs/ -o results/default/blend-factors.json
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
from tfmlc.networks import blend_networks, load_network
from tfmlc.results import write_result
from tfmlc.training.hooks import centred

FACTORS = (0.0, 0.3, 0.5, 0.7, 1.0)
SCORES = ["psnr", "lpips", "dists", "niqe"]
SIDE_PX = 512


def main(
    start: str,
    end: str,
    pairs: Path,
    output: Annotated[Path, typer.Option("-o", "--output")],
    onto: Annotated[str | None, typer.Option(help="Change this model so, not the first.")] = None,
) -> None:
    one, other = (load_network(find_model(model)) for model in (start, end))
    base = None if onto is None else load_network(find_model(onto))
    images = [centred(read_pair(pair), SIDE_PX) for pair in find_pairs(pairs)]
    rows: list[dict[str, float]] = []
    for factor in FACTORS:
        deblur = Deblurrer(blend_networks(one, other, factor, onto=base)).unguarded()
        scores = [score_images(deblur(blurry, on_unreliable=print), sharp, SCORES) for blurry, sharp in images]
        means = {name: round(float(np.mean([row[name] for row in scores])), 5) for name in SCORES}
        rows.append({"factor": factor, **means})
        typer.echo(rows[-1])
    of = f"middles ({SIDE_PX} px) of photos held back from the finetuning"
    write_result(output, {"images": len(images), "of": of, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
