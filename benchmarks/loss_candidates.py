"""Compare the candidates for the loss that ships, as metrics: how they rank blur, what else they respond to.

``python benchmarks/loss_candidates.py TRIPLETS STUDENT ADAPTER PHOTOS... -o results/loss/candidates.json``
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from tfmlc.backbones import Backbone, build_backbone
from tfmlc.data.datasets.triplet_sources import StoredTriplets, SyntheticTriplets
from tfmlc.data.datasets.triplets import Augmentation, find_triplets
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.evaluation.diagnose import Distance, as_table, diagnose, named_distances
from tfmlc.io.images import find_images
from tfmlc.io.weights import find_model
from tfmlc.losses import Adapter, FeatureMatchingLoss
from tfmlc.losses.triplet import ranking_loss
from tfmlc.networks import load_network
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.muon import Muon
from tfmlc.training.ranking import adapted_distances

CROP_PX, BATCH, STEPS = 112, 8, 120
STUDENT = "dinov2-student"


def matching(backbone: Backbone, block: int, adapter: Adapter | None = None) -> Distance:
    """Return the distance of features at native size."""
    return FeatureMatchingLoss(backbone, block=block, adapter=adapter, size="native", reduction="none")


def of_the_encoder(level: int) -> Distance:
    """Return the distance of the shipped network's features after a level of its first encoder."""
    network: Any = load_network(find_model("default-psnr")).requires_grad_(False)

    def features(images: Tensor) -> Tensor:
        values = network.conv_01(nn.functional.pixel_unshuffle(images, network.unshuffle))
        for block in network.down_path_1[: level + 1]:
            values = block(values)
            if block.downsample is not None:
                values = block.downsample(values)
        return values

    return lambda restored, sharp: (features(restored) - features(sharp)).square().flatten(1).mean(dim=1)


def learned_from_nothing(photos: list[Path]) -> Distance:
    """Train a student with random weights and an adapter to rank blur, and return their distance."""
    torch.manual_seed(0)
    backbone = build_backbone(STUDENT, None)
    backbone.requires_grad_(True)
    adapter = Adapter(mode="token", width=384, hidden=128)
    source = SyntheticTriplets(photos, STEPS * BATCH, Augmentation(crop_px=CROP_PX), blur=BlurConfig(), levels=3)
    optimiser = Muon([*backbone.parameters(), *adapter.parameters()], lr=0.005)
    with Progress("ranking", STEPS) as progress:
        for step in range(STEPS):
            rows = range(step * BATCH, (step + 1) * BATCH)
            members = torch.stack([source.view(row, "nuisance", np.random.default_rng([0, row])) for row in rows])
            features = backbone(members.flatten(0, 1), 3).flatten(2).transpose(1, 2)
            distances = adapted_distances(adapter, features.unflatten(0, members.shape[:2]))
            optimiser.zero_grad()
            ranking_loss(list(distances.T), 1.0).backward()
            optimiser.step()
            progress.advance()
    return matching(backbone.requires_grad_(False), 3, adapter.eval())


def main(
    triplets: Path,
    student: Path,
    adapter: Path,
    photos: list[Path],
    weights: str = "hub",
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/loss/candidates.json"),
) -> None:
    """Compare the candidates on a set of triplets; PHOTOS are for the candidate that is trained from nothing."""
    learned = build_backbone(STUDENT, student)
    random = build_backbone(STUDENT, None)
    untrained = Adapter(mode="token", width=384, hidden=128).eval()
    distances: dict[str, Distance] = {
        "student, random weights": matching(random, 3),
        **{f"student, block {block}": matching(learned, block) for block in range(4)},
        "student, untrained adapter": matching(learned, 3, untrained),
        "student, adapter": matching(learned, 3, Adapter.load(adapter)),
        "ranking from nothing": learned_from_nothing([photo for path in photos for photo, _ in find_images(path)]),
        **{f"encoder of default-psnr, level {level}": of_the_encoder(level) for level in (1, 2)},
        **named_distances("dinov2-vit-s14", 3, weights=weights),
    }
    rows = diagnose(distances, StoredTriplets(find_triplets(triplets), Augmentation()))
    write_result(output, {"rows": rows})
    typer.echo(as_table(rows))


if __name__ == "__main__":
    typer.run(main)
