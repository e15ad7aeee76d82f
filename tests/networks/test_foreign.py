"""Networks of spandrel: found by their official names, of any size, saved, scored and finetuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tfmlc.deblur import Deblurrer
from tfmlc.errors import UserError
from tfmlc.networks import blend_networks, catalog, foreign, load_network, save_network
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network


def model(name: str) -> nn.Module:
    """A small model with seeded weights; its own forward pass is what ours must equal."""
    from spandrel.architectures.FFTformer import FFTformer
    from spandrel.architectures.KBNet import KBNet_s
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    small: dict[str, Any] = {
        "SwinIR": lambda: SwinIR(embed_dim=12, depths=[2, 2], num_heads=[2, 2], window_size=8, mlp_ratio=2),
        "FFTformer": lambda: FFTformer(dim=12, num_blocks=[1, 1, 1], num_refinement_blocks=1),
        "KBNet": lambda: KBNet_s(width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    }
    return small[name]().eval()


def official_file(name: str, folder: Path) -> Path:
    """The model's weights in a checkpoint as its authors publish it."""
    path = folder / f"{name}.pth"
    torch.save({"params": model(name).state_dict()}, path)
    return path


pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # of an older form in spandrel
NAMES = ["SwinIR", "FFTformer", "KBNet"]


@pytest.mark.parametrize("name", NAMES)
def test_an_official_file_gives_the_same_image(name: str, tmp_path: Path) -> None:
    network = load_network(official_file(name, tmp_path))
    assert network.info.name.startswith(name)
    blurry = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        (restored,) = network(blurry)
        assert torch.allclose(restored, model(name)(blurry), atol=1e-5)
        for size in ((1, 1), (37, 50)):
            assert network(torch.rand(1, 3, *size))[-1].shape == (1, 3, *size)


@pytest.mark.parametrize("name", NAMES)
def test_saved_loaded_and_used_by_the_deblurrer(name: str, tmp_path: Path) -> None:
    network = load_network(official_file(name, tmp_path))
    save_network(tmp_path / "ours.safetensors", network, origin="seeded", licence="MIT")
    again = load_network(tmp_path / "ours.safetensors")
    assert (again.info.origin, again.info.licence) == ("seeded", "MIT")
    assert "MIT" in again.explain()
    image = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        assert torch.equal(again(image)[-1], network(image)[-1])
    ours = Deblurrer(again, precision="fp32", tile_px=0).unguarded()  # random weights draw what the guard finds
    assert torch.allclose(ours(image, on_unreliable=print), network(image)[-1].clamp(0, 1), atol=1e-5)


def test_finetuned_under_a_feature_loss(tmp_path: Path, photos: Path) -> None:
    start = official_file("SwinIR", tmp_path)
    settings = [
        f"data.photos=[{photos}]",
        f"network={{name: SwinIR, start: {start}}}",
        "loss={kind: fmlc, backbone: alexnet, block: 0, weights: random, offset: random}",
        "loop.steps=2",
    ]
    weights = train_network(load_recipe("smoke", settings), tmp_path / "run")
    before, after = load_network(start), load_network(weights)
    assert after.info.name == before.info.name
    changed = [not torch.equal(value, after.state_dict()[key]) for key, value in before.state_dict().items()]
    assert any(changed)
    with pytest.raises(UserError, match=r"set network\.name=SwinIR"):
        train_network(load_recipe("smoke", [*settings, "network.name=hinet"]), tmp_path / "other")


def test_what_does_not_deblur_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel.architectures.SwinIR import SwinIR

    sizes: dict[str, Any] = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 8, "mlp_ratio": 2}
    larger = SwinIR(**sizes, upscale=2, upsampler="pixelshuffledirect")
    save_file({key: value.contiguous() for key, value in larger.state_dict().items()}, tmp_path / "larger.safetensors")
    with pytest.raises(UserError, match=r"larger\.safetensors: this SwinIR enlarges images 2 times"):
        load_network(tmp_path / "larger.safetensors")
    grey = SwinIR(**sizes, in_chans=1)
    save_file({key: value.contiguous() for key, value in grey.state_dict().items()}, tmp_path / "grey.safetensors")
    with pytest.raises(UserError, match="takes 1 channels and returns 1"):
        load_network(tmp_path / "grey.safetensors")
    save_file({"some.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"not a known network .*first tensors are some\.weight$"):
        load_network(tmp_path / "other.safetensors")
    for module in (catalog, foreign):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install 'tfmlc\[spandrel\]'"):
        load_network(tmp_path / "other.safetensors")


def test_networks_of_spandrel_are_not_blended(tmp_path: Path) -> None:
    network = load_network(official_file("KBNet", tmp_path))
    with pytest.raises(UserError, match="cannot be blended"):
        blend_networks(network, network, 0.5)
