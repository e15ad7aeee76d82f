"""What ``--best`` gains and costs: python benchmarks/best.py PAIRS/ [--model default] -o results/default/best.json."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.metrics.registry import score_images
from tfmlc.results import write_result

SCORES = ["psnr", "lpips", "dists", "periodicity"]


def main(
    pairs: Path,
    model: str = "default",
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/default/best.json"),
) -> None:
    """Score a model with and without ``--best`` on the same images, in turns, so that both see the same machine."""
    deblurrers = {best: Deblurrer.load(model, best=best) for best in (False, True)}
    images = [read_pair(pair) for pair in find_pairs(pairs)]
    deblurrers[False](images[0][0])
    scores: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for blurry, sharp in images:
        for best, deblur in deblurrers.items():
            start = time.perf_counter()
            restored = deblur(blurry)
            seconds = time.perf_counter() - start
            scores[best].append({**score_images(restored, sharp, SCORES), "seconds": seconds})
    rows: list[dict[str, Any]] = [
        {"best": best, **{name: round(float(np.mean([row[name] for row in found])), 4) for name in found[0]}}
        for best, found in scores.items()
    ]
    for row in rows:
        row["times_slower"] = round(row["seconds"] / rows[0]["seconds"], 1)
        typer.echo(row)
    write_result(output, {"model": model, "images": len(images), "rows": rows})


if __name__ == "__main__":
    typer.run(main)
