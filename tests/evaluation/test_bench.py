"""The benchmarks compare like with like; how fast anything is they only report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.bench.deblur import bench_deblur
from tfmlc.bench.evaluate import PYIQA_NAMES, bench_scores
from tfmlc.bench.released_loss import ReleasedLoss
from tfmlc.io.images import Image, write_image
from tfmlc.losses import Adapter, FeatureMatchingLoss
from tfmlc.metrics.registry import unavailable


@pytest.mark.parametrize("adapted", [False, True], ids=["FMLC", "TFMLC"])
def test_the_released_procedure_gives_the_same_loss_and_gradient(adapted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    sharp, *stages = torch.rand(3, 2, 3, 64, 48, generator=generator)
    images = [stage.requires_grad_() for stage in stages]
    torch.manual_seed(0)
    backbone = build_backbone("clip-vit-b16", None)
    values: list[tuple[float, torch.Tensor]] = []
    adapter = Adapter(mode="flatten", tokens=197, width=768, hidden=16).eval() if adapted else None
    losses = [ReleasedLoss(3, adapter, looped=looped) for looped in (True, False)]
    for loss in losses:
        loss.trunk.load_state_dict(backbone.tower.state_dict())
    for loss in (*losses, FeatureMatchingLoss(backbone, block=3, adapter=adapter, normalize=False)):
        value = loss(images, sharp)
        values.append((float(value.detach()), torch.autograd.grad(value, images[0])[0]))
    for value, gradient in values[1:]:
        assert value == pytest.approx(values[0][0], rel=1e-4)
        assert float((gradient - values[0][1]).abs().max()) < 1e-3 * float(gradient.abs().max())


@pytest.mark.weights
def test_both_programs_give_the_same_scores(tmp_path: Path) -> None:
    if reasons := unavailable(list(PYIQA_NAMES)):
        pytest.skip(next(iter(reasons.values())))
    sharp = make_photo(224, 256)
    for name, image in (("a", sharp // 2), ("b", sharp[::-1] // 2 + 60)):
        write_image(tmp_path / "sharp" / f"{name}.png", Image(image.copy()))
        write_image(tmp_path / "blur" / f"{name}.png", Image(image // 3 * 2))
    costs = bench_scores(tmp_path)
    assert [row["models"] for row in costs["rows"]] == [1, 2]
    assert costs["images"] == 2
    assert {name: value for name, value in costs["largest_difference"].items() if value > 1e-4} == {}


def test_deblurring_is_measured_by_size_precision_and_tile() -> None:
    rows = bench_deblur("default", repeats=1, sides_px=[(48, 64)])
    assert [(row["image"], row["tile_px"]) for row in rows] == [("64x48", "auto"), ("64x48", 256)] * 2
    assert rows[0]["times_faster"] == 1
