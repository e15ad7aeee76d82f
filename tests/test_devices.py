"""What runs on a CPU in fp32 gives the same in bf16 and on a GPU."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.deblur import Deblurrer
from tfmlc.io.images import Image, write_image
from tfmlc.io.weights import find_model
from tfmlc.losses import Adapter, FeatureMatchingLoss
from tfmlc.networks import load_network
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network

GPUS = [pytest.param(name, marks=pytest.mark.gpu) for name in ("cuda", "mps")]
CPU_BF16 = ("cpu", "bf16")
ON_GPU = [pytest.param((gpu, low), marks=pytest.mark.gpu) for gpu in ("cuda", "mps") for low in ("fp32", "bf16")]


@pytest.fixture(params=GPUS)
def gpu(request: pytest.FixtureRequest) -> str:
    return there(request.param)


@pytest.fixture(params=[CPU_BF16, *ON_GPU], ids="-".join)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A device and a precision, to be compared with the CPU in fp32."""
    device, precision = request.param
    return there(device), precision


def there(device: str) -> str:
    if not {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[device]:
        pytest.skip(f"this machine has no {device}")
    return device


@pytest.mark.parametrize(
    ("name", "mode"),
    [*product(["dinov2-vit-s14", "alexnet"], [None, "flatten", "token"]), ("clip-rn50", None)],
)
def test_loss_and_gradient(place: tuple[str, str], name: str, mode: Any) -> None:
    device, low = place[0], place[1] == "bf16"
    generator = torch.Generator().manual_seed(0)
    sharp, restored = torch.rand(2, 2, 3, 70, 90, generator=generator)
    torch.manual_seed(0)
    backbone = build_backbone(name, None)
    features = backbone(torch.rand(1, 3, 112, 112), block=1)
    tokens = features.flatten(2).transpose(1, 2) if features.dim() == 4 else features
    sizes = {"tokens": tokens.shape[1], "width": tokens.shape[2]}
    adapter = None if mode is None else Adapter(mode=mode, hidden=16, **sizes).eval()
    loss = FeatureMatchingLoss(backbone, block=1, adapter=adapter, size=112)
    found: list[tuple[float, torch.Tensor]] = []
    for where, lower in (("cpu", False), (device, low)):
        loss.to(where)
        image = restored.to(where, copy=True).requires_grad_()
        with torch.autocast(where, torch.bfloat16, enabled=lower):
            value = loss(image, sharp.to(where))
        value.backward()
        assert image.grad is not None
        found.append((float(value.detach()), image.grad.cpu()))
    assert not low or not torch.equal(found[0][1], found[1][1])  # it did run in bf16
    tolerance = 0.1 if low else 2e-3
    assert found[1][0] == pytest.approx(found[0][0], rel=tolerance)
    assert float((found[1][1] - found[0][1]).norm()) < 2 * tolerance * float(found[0][1].norm())


def test_deblurring(place: tuple[Any, Any]) -> None:
    device, precision = place
    photo = make_photo(150, 200)
    network = load_network(find_model("default"))
    wanted = Deblurrer(network, device="cpu", precision="fp32", tile_px=128)(photo).astype(int)
    found = Deblurrer(network, device=device, precision=precision, tile_px=128)(photo).astype(int)
    assert np.abs(found - wanted).max() <= (1 if precision == "fp32" else 12)


def test_training_and_resuming(gpu: str, tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png", Image(make_photo(300, 300)))
    settings = [f"data.photos=[{tmp_path / 'photos'}]", "loop.batch_size=2", "loop.workers=0", f"loop.device={gpu}"]
    for steps in (3, 5):
        config = load_recipe("smoke", [*settings, f"loop.steps={steps}"])
        train_network(config, tmp_path / "run", force=True)
    network = load_network(tmp_path / "run" / "weights.safetensors")
    assert Deblurrer(network, device=gpu)(make_photo(40, 50)).shape == (40, 50, 3)
