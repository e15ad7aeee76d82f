"""Measure the pattern that a loss's patches leave in its gradient, with and without the random offset.

``python benchmarks/gradient_grid.py PAIRS/ --weights FILE -o results/loss/gradient-grid.json``

The gradient of each pair is averaged over steps, as training does. Its periodicity is the largest fraction of its
variance that repeats with a period of 8, 14, 16 or 32 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from tfmlc.backbones import build_backbone
from tfmlc.data.datasets.choice import evenly
from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.evaluation.diagnose import periodicity
from tfmlc.io.images.tensors import to_tensor
from tfmlc.losses import FeatureMatchingLoss
from tfmlc.losses.feature_matching import Offset
from tfmlc.results import write_result
from tfmlc.training.hooks import centred

SIDE_PX, STEPS, IMAGES = 224, 24, 5


def mean_gradient(loss: FeatureMatchingLoss, blurry: torch.Tensor, sharp: torch.Tensor) -> np.ndarray:
    """Return the magnitude of the gradient, averaged over steps, ``h w``."""
    torch.manual_seed(0)
    total = torch.zeros_like(blurry)
    for _ in range(STEPS if loss.offset == "random" else 1):
        image = blurry.clone().requires_grad_()
        loss(image, sharp).backward()
        assert image.grad is not None
        total += image.grad
    return total[0].double().square().sum(dim=0).sqrt().numpy()


def main(
    pairs: Path,
    weights: str = "hub",
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("results/loss/gradient-grid.json"),
) -> None:
    """Measure DINOv2, the architecture of CLIP with random weights, and the loss that ships."""
    dino = build_backbone("dinov2-vit-s14", weights, last_block=3)
    clip = build_backbone("clip-vit-b16", None, last_block=3)

    def losses(offset: Offset) -> dict[str, FeatureMatchingLoss]:
        return {
            "DINOv2 ViT-S/14, block 3": FeatureMatchingLoss(dino, block=3, size="native", offset=offset),
            "CLIP ViT-B/16, block 3, random weights": FeatureMatchingLoss(clip, block=3, size="native", offset=offset),
            "default": FeatureMatchingLoss(offset=offset),
        }

    middles = [centred(read_pair(pair), SIDE_PX) for pair in evenly(find_pairs(pairs), IMAGES)]
    images = [(to_tensor(blurry)[None], to_tensor(sharp)[None]) for blurry, sharp in middles]
    rows: list[dict[str, object]] = []
    for offset in ("none", "random"):
        for name, loss in losses(offset).items():
            values = [periodicity(mean_gradient(loss, blurry, sharp)) for blurry, sharp in images]
            rows.append({"loss": name, "offset": offset, "periodicity": round(float(np.mean(values)), 4)})
            typer.echo(rows[-1])
    write_result(output, {"pairs": len(images), "side_px": SIDE_PX, "steps": STEPS, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
