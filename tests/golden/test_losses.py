"""Our losses against values computed with the authors' recipe and OpenAI's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seeded import read_json, seeded_images, seeded_state
from torch import Tensor

from tfmlc.backbones import build_backbone
from tfmlc.losses import Adapter, FeatureMatchingLoss, charbonnier, edge, psnr_loss
from tfmlc.losses.triplet import triplet_loss

TOLERANCE = 1e-4
ADAPTER_LAYERS = {0: (1024, 197 * 768), 3: (1024, 1024), 6: (1024, 1024)}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return read_json("loss_values.json")


@pytest.fixture(scope="module")
def images(golden: dict[str, Any]) -> tuple[Tensor, Tensor]:
    return seeded_images(golden["seed"])


@pytest.fixture(scope="module")
def vit_file(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = read_json("clip_vit_b16.keys.json")
    path = tmp_path_factory.mktemp("weights") / "ViT-B-16.pt"
    torch.save(seeded_state(shapes, golden["seed"]), path)
    return path


@pytest.fixture(scope="module")
def vit(vit_file: Path) -> Any:
    return build_backbone("clip-vit-b16", vit_file)


@pytest.fixture(scope="module")
def adapter_state(golden: dict[str, Any]) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (outputs, inputs) in ADAPTER_LAYERS.items():
        shapes |= {f"{layer}.weight": (outputs, inputs), f"{layer}.bias": (outputs,)}
    for layer in (1, 4):
        shapes |= {f"{layer}.{name}": (1024,) for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{layer}.num_batches_tracked"] = ()
    return seeded_state(shapes, golden["seed"] + 1)


@pytest.mark.parametrize(
    ("block", "normalize"),
    [*((block, True) for block in (0, 1, 3, 5, 7, 9, 11, "final")), *((block, False) for block in (0, 3, "final"))],
)
def test_fmlc(vit: Any, golden: dict[str, Any], images: tuple[Tensor, Tensor], block: Any, normalize: bool) -> None:
    kind = "normalized" if normalize else "raw"
    wanted = golden[f"fmlc_final_vitb16_{kind}" if block == "final" else f"fmlc_block{block}_{kind}"]
    with torch.no_grad():
        assert float(FeatureMatchingLoss(vit, block=block, normalize=normalize)(*images)) == pytest.approx(
            wanted, rel=TOLERANCE
        )


@pytest.mark.parametrize("normalize", [True, False])
def test_tfmlc(
    vit: Any,
    golden: dict[str, Any],
    images: tuple[Tensor, Tensor],
    adapter_state: dict[str, Tensor],
    normalize: bool,
) -> None:
    adapter = Adapter(mode="flatten", tokens=197, width=768, hidden=1024)
    adapter.load_state_dict(adapter_state)
    kind = "normalized" if normalize else "raw"
    loss = FeatureMatchingLoss(vit, block=3, adapter=adapter, normalize=normalize)
    with torch.no_grad():
        assert float(loss(*images)) == pytest.approx(golden[f"tfmlc_block3_{kind}"], rel=TOLERANCE)
        first = loss.embed(images[0])[0, :8].numpy()
    assert np.abs(first - golden[f"adapter_{kind}_first"]).max() <= TOLERANCE * 2


@pytest.mark.slow
def test_a_file_of_the_authors_form(
    golden: dict[str, Any],
    images: tuple[Tensor, Tensor],
    adapter_state: dict[str, Tensor],
    vit_file: Path,
    tmp_path: Path,
) -> None:
    tower = torch.load(vit_file, weights_only=True)
    authors = {f"clip.visual.{k.removeprefix('visual.')}": v for k, v in tower.items()}
    authors |= {f"mlp.{key}": value for key, value in adapter_state.items()}
    torch.save({"state_dict": authors}, tmp_path / "authors.pth")
    loaded = FeatureMatchingLoss.load(tmp_path / "authors.pth")
    with torch.no_grad():
        assert float(loaded(*images)) == pytest.approx(golden["tfmlc_block3_normalized"], rel=TOLERANCE)


@pytest.mark.parametrize("normalize", [True, False])
def test_features(vit: Any, golden: dict[str, Any], images: tuple[Tensor, Tensor], normalize: bool) -> None:
    kind = "normalized" if normalize else "raw"
    with torch.no_grad():
        small = torch.nn.functional.interpolate(images[0], size=(224, 224), mode="bicubic")
        tokens = vit(small, block=3, normalize=normalize)
        embedding = vit(small, block="final", normalize=normalize)
    wanted = np.array(golden[f"tokens_block3_{kind}_first"])
    assert np.abs(tokens[0, : len(wanted), : wanted.shape[1]].numpy() - wanted).max() <= TOLERANCE * wanted.std()
    wanted = np.array(golden[f"vitb16_embedding_{kind}_first"])
    assert np.abs(embedding[0, : len(wanted)].numpy() - wanted).max() <= TOLERANCE * wanted.std()


def test_resnet(golden: dict[str, Any], images: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    shapes = read_json("clip_rn50.keys.json")
    torch.save(seeded_state(shapes, golden["seed"] + 2), tmp_path / "RN50.pt")
    backbone = build_backbone("clip-rn50", tmp_path / "RN50.pt")
    loss = FeatureMatchingLoss(backbone, block="final")
    with torch.no_grad():
        embedding = loss.embed(images[0])[0, :8].numpy()
        wanted = np.array(golden["rn50_embedding_normalized_first"])
        assert np.abs(embedding - wanted).max() <= TOLERANCE * wanted.std()
        assert float(loss(*images)) == pytest.approx(golden["fmlc_final_rn50_normalized"], rel=TOLERANCE)


def test_pixel_losses(golden: dict[str, Any]) -> None:
    restored, sharp = seeded_images(golden["seed"] + 3, (2, 3, 64, 80))
    assert float(charbonnier(restored, sharp)) == pytest.approx(golden["charbonnier"], rel=TOLERANCE)
    assert float(edge(restored, sharp)) == pytest.approx(golden["edge"], rel=TOLERANCE)
    assert 0.5 * float(psnr_loss(restored, sharp)) == pytest.approx(golden["psnr_loss_hinet"], rel=TOLERANCE)


def test_triplet_loss(golden: dict[str, Any]) -> None:
    parts = [
        torch.from_numpy(np.random.default_rng([golden["seed"] + 4, i]).standard_normal((8, 16), dtype=np.float32))
        for i in range(3)
    ]
    assert float(triplet_loss(*parts)) == pytest.approx(golden["triplet_margin1"], rel=TOLERANCE)
