"""The loss that ships: it works from the installed package alone, at any size, and leaves no pattern."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import REPOSITORY
from tfmlc import Adapter, FeatureMatchingLoss
from tfmlc.config import checked
from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8
from tfmlc.io.weights import SHIPPED_BACKBONES
from tfmlc.losses import MadeFor
from tfmlc.training.objective import LossConfig, build_feature_loss

LARGEST_RATIO = 3.0  # of the gradient's power at the places of a cell of 8x8 px
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


@pytest.fixture(scope="module")
def loss() -> FeatureMatchingLoss:
    return FeatureMatchingLoss()


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    pixels = read_rgb8(REPOSITORY / "examples" / "taxi.png")[80:144, 210:274]
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.heavy
def test_one_line_in_a_process_without_a_network(tmp_path: Path) -> None:
    line = (
        "import socket; socket.socket.connect = None; import torch; from tfmlc import FeatureMatchingLoss; "
        "print(float(FeatureMatchingLoss()(torch.rand(1, 3, 96, 96), torch.rand(1, 3, 96, 96))))"
    )
    environment = {"HOME": str(tmp_path), **ENVIRONMENT}  # no cache of weights
    found = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True, env=environment)
    assert 0 < float(found.stdout) < 100


def test_it_is_small_and_free(loss: FeatureMatchingLoss) -> None:
    files = list(SHIPPED_BACKBONES.iterdir())
    assert sum(path.stat().st_size for path in files) < 8e6
    assert loss.backbone.info.licence == "Apache-2.0"
    assert "GoPro" in loss.backbone.info.origin
    assert "CC BY 4.0" in loss.backbone.explain()


@pytest.mark.parametrize("size", [(96, 96), (33, 70), (7, 5)])
def test_any_size_and_the_same_by_name(loss: FeatureMatchingLoss, size: tuple[int, int]) -> None:
    restored, sharp = torch.rand(2, 2, 3, *size)
    value = loss((restored, sharp), sharp)
    assert torch.isfinite(value)
    assert value == FeatureMatchingLoss.load("default")(restored, sharp)
    built = build_feature_loss(LossConfig(kind="default"), torch.device("cpu"))
    assert built is not None
    assert built((restored,), sharp) == value


def test_its_weight_in_training_is_measured_unless_given() -> None:
    assert checked(LossConfig, {"kind": "default"}).weight == "auto"
    assert checked(LossConfig, {"kind": "default", "weight": 20}).weight == 20
    assert checked(LossConfig, {"kind": "fmlc"}).weight == "paper"
    with pytest.raises(UserError, match=r"no weight for the loss default: set loss\.weight=auto"):
        checked(LossConfig, {"kind": "default", "weight": "paper"})


def test_grows_with_blur_and_works_in_bf16(loss: FeatureMatchingLoss, photo: torch.Tensor) -> None:
    blurs = [nn.functional.avg_pool2d(photo, (1, size), 1, (0, size // 2)) for size in (1, 3, 5, 9, 15)]
    values = [float(loss(blur, photo)) for blur in blurs]
    assert values == sorted(values)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(loss(blurs[2], photo)) == pytest.approx(values[2], rel=0.05)


def test_the_gradient_has_no_grid(loss: FeatureMatchingLoss) -> None:
    torch.manual_seed(0)
    restored, sharp = torch.rand(2, 8, 3, 128, 128)
    restored.requires_grad_()
    loss(restored, sharp).backward()
    assert restored.grad is not None
    inner = restored.grad[..., 32:96, 32:96].square().mean(dim=(0, 1))
    cells = inner.view(8, 8, 8, 8).mean(dim=(0, 2))  # one value per place in 8x8 px
    assert float(cells.max() / cells.min()) < LARGEST_RATIO


@pytest.mark.slow
def test_compiled(loss: FeatureMatchingLoss) -> None:
    restored, sharp = torch.rand(2, 1, 3, 64, 64)
    compiled = torch.compile(loss)
    torch.testing.assert_close(compiled(restored, sharp), loss(restored, sharp), rtol=1e-3, atol=1e-6)


def test_an_adapter_of_ones_own(loss: FeatureMatchingLoss, photo: torch.Tensor) -> None:
    adapter = Adapter(mode="token", width=384, hidden=8)
    adapted = FeatureMatchingLoss(adapter=adapter)
    assert adapted.size == "native"
    assert float(adapted(photo * 0.9, photo)) != float(loss(photo * 0.9, photo))
    other = Adapter(mode="token", width=384, hidden=8, made_for=MadeFor("dinov2-vit-s14", 3))
    with pytest.raises(UserError, match="made for dinov2-vit-s14 block 3, not for dinov2-student block 3"):
        FeatureMatchingLoss(adapter=other)


def test_a_block_and_wrong_arguments_are_not_ignored() -> None:
    assert FeatureMatchingLoss(block=1).block == 1
    with pytest.raises(UserError, match="block"):
        FeatureMatchingLoss(block=7)
    with pytest.raises(UserError, match="build_backbone makes one by name"):
        FeatureMatchingLoss("vgg16")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="weights of its own"):
        FeatureMatchingLoss.load("default", weights="nofile")
