"""Why images of a triplet that are augmented each on its own are hard to rank: what is changed, and how much is seen.

python benchmarks/independent_crops.py FOLDER_OF_ADAPTERS PHOTOS --weights dinov2.safetensors

FOLDER_OF_ADAPTERS is that of the study. The photos are those that the adapters were validated on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from tfmlc.backbones import build_backbone
from tfmlc.data.datasets.triplet_sources import SyntheticTriplets
from tfmlc.data.datasets.triplets import Augmentation, augmented
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.deblur import blurriness
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.tables import markdown
from tfmlc.io.images import find_images
from tfmlc.losses import Adapter
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.ranking import adapted_distances, plain_distances, ranking_accuracy

BACKBONE, BLOCK, LEVELS, TRIPLETS = "dinov2-vit-s14", 3, 3, 150
SIDES_PX = (112, 224)
NONE = {"brightness": 0.0, "hue": 0.0, "flip": 0.0}
CHANGES = {"nothing": NONE, "colours": {"flip": 0.0}, "colours and flips": {}}
Ranker = Callable[[Tensor], Tensor]


def draw(source: SyntheticTriplets, row: int, *, place: bool) -> Tensor:
    """A triplet whose images are each augmented on its own, and show another place or not."""
    rng = np.random.default_rng([7, row])
    if place:
        return source.view(row, "independent", rng)
    middle = (source.plain(row) * 255).round().byte()  # as large as a crop, so each image keeps its place
    return augmented(list(middle), source.augmentation, "independent", rng)


def by_the_meter(members: Tensor) -> Tensor:
    """Distances by the measure of blurriness, which learned the length of motion from known motion."""
    scores = torch.tensor([blurriness(image).score_px for image in members])
    return (scores[1:] - scores[0]).abs()[None]


def rankers(adapters: Path, weights: str) -> dict[str, Ranker]:
    backbone = build_backbone(BACKBONE, weights, last_block=BLOCK)

    def features(members: Tensor) -> Tensor:
        with torch.inference_mode():
            return backbone(members, BLOCK)[None]

    found: dict[str, Ranker] = {"frozen features": lambda members: plain_distances(features(members))}
    for name in ("shared", "independent", "nuisance"):
        adapter = Adapter.load(adapters / f"{name}.safetensors").eval()
        found[f"adapter, {name}"] = lambda members, adapter=adapter: adapted_distances(adapter, features(members))
    return {**found, "blurriness": by_the_meter}


def main(
    adapters: Path,
    photos: Path,
    weights: str = "hub",
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/loss/independent-crops.json"),
) -> None:
    """Rank triplets of the photos that were held out; they differ in the place and in what is changed."""
    held_out = set(read_learned(adapters / "independent.safetensors").held_out)
    files = [path for path, _ in find_images(photos) if path.name in held_out]
    ranked, rows = rankers(adapters, weights), list[dict[str, object]]()
    cases = [(side, place, changes) for side in SIDES_PX for place in (False, True) for changes in CHANGES]
    with Progress("cases", len(cases)) as progress:
        for side, place, changes in cases:
            own = Augmentation(crop_px=side, **CHANGES[changes])
            source = SyntheticTriplets(files, TRIPLETS, own, blur=BlurConfig(), levels=LEVELS)
            triplets = [draw(source, row, place=place) for row in range(TRIPLETS)]
            for name, ranker in ranked.items():
                with torch.no_grad():
                    distances = torch.cat([ranker(members) for members in triplets])
                case = {"side_px": side, "place": "another" if place else "the same", "own": changes, "ranker": name}
                ends = ranking_accuracy(distances[:, [0, -1]])
                found = {"accuracy": round(ranking_accuracy(distances), 3), "weakest_strongest": round(ends, 3)}
                rows.append({**case, **found})
            progress.advance()
    write_result(output, {"rows": rows, "triplets": TRIPLETS, "levels": LEVELS})
    typer.echo(markdown(list(rows[0]), [list(row.values()) for row in rows], labels=4))


if __name__ == "__main__":
    typer.run(main)
