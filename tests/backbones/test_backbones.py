"""The contract of backbones, over the whole table, and their weights files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import GOLDEN
from tfmlc.backbones import BACKBONES, build_backbone
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import write_checkpoint
from tfmlc.io.weights import shipped_backbone

SMALL = ("dinov2-vit-s14", "vgg16", "alexnet", "clip-rn50")  # the others are the same code, larger


@pytest.fixture(scope="module", params=SMALL)
def backbone(request: pytest.FixtureRequest) -> Any:
    return build_backbone(request.param, weights=None)


def test_features_of_any_size(backbone: Any) -> None:
    for height, width in ((1, 1), (33, 70)):
        features = backbone(torch.rand(2, 3, height, width), block=1)
        assert features.shape[0] == 2
        assert features.dim() in (3, 4)
        assert bool(torch.isfinite(features).all())


def test_blocks_after_the_asked_one_neither_run_nor_stay(backbone: Any) -> None:
    name = backbone.info.name
    short = build_backbone(name, weights=None, last_block=1)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(short(image, block=1), backbone(image, block=1))
    count = [sum(p.numel() for p in part.parameters()) for part in (short, backbone)]
    assert count[0] < count[1]
    with pytest.raises(UserError, match="dropped"):
        short(image, block="final")


def test_what_a_backbone_shows(backbone: Any) -> None:
    wanted = f"name='{backbone.info.name}', blocks={backbone.blocks}, last_block='final', patch_px={backbone.patch_px}"
    assert repr(backbone).splitlines()[1].strip().startswith(wanted)


def test_range_of_blocks_is_named(backbone: Any) -> None:
    for block in (-1, backbone.blocks, "last", 1.5):
        with pytest.raises(UserError, match=f"its blocks are 0 to {backbone.blocks - 1}"):
            backbone(torch.rand(1, 3, 32, 32), block=block)


def test_frozen_and_in_evaluation(backbone: Any) -> None:
    torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    backbone(images, block=0).sum().backward()
    assert images.grad is not None
    assert bool(torch.isfinite(images.grad).all())


def test_embedding(backbone: Any) -> None:
    assert backbone(torch.rand(2, 3, 224, 224), block="final").shape[0] == 2
    assert backbone(torch.rand(2, 3, 100, 130), block="final").dim() == 2


def test_normalisation_is_inside(backbone: Any) -> None:
    images = torch.rand(1, 3, 64, 64)
    by_hand = (images - backbone.mean) / backbone.std
    assert torch.allclose(backbone(images, block=0), backbone(by_hand, block=0, normalize=False), atol=1e-5)


@pytest.mark.parametrize("images", [torch.rand(1, 1, 8, 8), torch.rand(3, 8, 8), torch.rand(0, 3, 8, 8)])
def test_other_images_are_refused(backbone: Any, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="b 3 h w"):
        backbone(images, block=0)


def test_same_seed_same_random_weights() -> None:
    image = torch.rand(1, 3, 28, 28)
    first, second = (build_backbone("dinov2-vit-s14", None, seed=3)(image, block=0) for _ in range(2))
    assert torch.equal(first, second)


@pytest.fixture(scope="module")
def clip() -> Any:
    """A CLIP whose weights are exact in half precision, in which the official files store them."""
    backbone = build_backbone("clip-vit-b32", None, seed=1)
    backbone.tower.load_state_dict({k: v.half().float() for k, v in backbone.tower.state_dict().items()})
    return backbone


class TestFiles:
    def test_real_files(self, shared: Path) -> None:
        for file, name in (("dinov2-vit-s14.fp16", "dinov2-vit-s14"), ("alexnet-features", "alexnet")):
            backbone = build_backbone(name, shared / "weights" / f"{file}.safetensors")
            assert backbone.info.sha256
            assert float(backbone(torch.rand(1, 3, 64, 64), block=3).std()) > 0

    def test_folder_by_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_convolutions(tmp_path / "alexnet-features.safetensors", "alexnet")
        monkeypatch.setenv("TFMLC_WEIGHTS", str(tmp_path))
        assert build_backbone("alexnet").info.origin == "alexnet-features.safetensors"

    @pytest.mark.parametrize("form", ["plain", "visual.", "clip.visual.", "module.visual.", "torchscript", "timm"])
    def test_forms(self, tmp_path: Path, form: str, clip: Any) -> None:
        state = {k: v.half() for k, v in clip.tower.state_dict().items()}
        path = tmp_path / "weights.pt"
        if form == "timm":
            torch.save(state, path)
        else:
            official = openai_names(state)
            prefix = "visual." if form == "torchscript" else "" if form == "plain" else form
            named = {f"{prefix}{key}": value for key, value in official.items()}
            if form == "torchscript":
                save_scripted(named, path)
            else:
                torch.save({**named, "logit_scale": torch.ones(())}, path)
        loaded = build_backbone("clip-vit-b32", path)
        image = torch.rand(1, 3, 32, 32)
        assert torch.equal(loaded(image, block="final"), clip(image, block="final"))

    def test_another_backbone(self, tmp_path: Path) -> None:
        alexnet = save_convolutions(tmp_path / "alexnet-features.safetensors", "alexnet")
        with pytest.raises(UserError, match="does not hold clip-vit-b32: it lacks"):
            build_backbone("clip-vit-b32", alexnet)
        with pytest.raises(UserError, match=r"does not hold vgg16: 0\.weight is"):
            build_backbone("vgg16", alexnet)
        (tmp_path / "note.pt").write_text("no weights")
        with pytest.raises(UserError, match="is a text file"):
            build_backbone("alexnet", tmp_path / "note.pt")

    def test_not_finite(self, tmp_path: Path) -> None:
        state = build_backbone("alexnet", None).tower.state_dict()
        broken = {f"features.{k}": v * float("nan") if k == "3.bias" else v for k, v in state.items()}
        torch.save(broken, tmp_path / "alexnet.pth")
        with pytest.raises(UserError, match=r"not finite in 3\.bias"):
            build_backbone("alexnet", tmp_path / "alexnet.pth")

    def test_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object, **settings: object) -> None:
            raise OSError("no route to host")

        monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.delenv("TFMLC_WEIGHTS", raising=False)
        for name, row in BACKBONES.items():
            if shipped_backbone(name):
                assert build_backbone(name).info.licence == row.download.licence
                continue
            with pytest.raises(UserError, match=r"TFMLC_WEIGHTS") as error:
                build_backbone(name)
            assert row.download.file in str(error.value)
            assert "\n" not in str(error.value)

    def test_unknown_name(self) -> None:
        with pytest.raises(UserError, match="did you mean 'clip-vit-b16'"):
            build_backbone("clip-vit-b-16")


def openai_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A timm tower's weights under OpenAI's names, independently of the code that reads them."""
    renamed: dict[str, torch.Tensor] = {}
    simple = {
        "cls_token": lambda v: ("class_embedding", v[0, 0]),
        "pos_embed": lambda v: ("positional_embedding", v[0]),
        "patch_embed.proj.weight": lambda v: ("conv1.weight", v),
        "head.weight": lambda v: ("proj", v.T),
    }
    inner = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "attn.proj": "attn.out_proj",
    }
    for key, value in state.items():
        if key in simple:
            name, value = simple[key](value)  # noqa: PLW2901
            renamed[name] = value.contiguous()
        elif key.startswith("norm"):
            renamed[key.replace("norm_pre", "ln_pre").replace("norm.", "ln_post.")] = value
        elif key.startswith("blocks."):
            _, number, rest = key.split(".", 2)
            module, kind = rest.rsplit(".", 1)
            name = f"attn.in_proj_{kind}" if module == "attn.qkv" else f"{inner[module]}.{kind}"
            renamed[f"transformer.resblocks.{number}.{name}"] = value
    return renamed


def save_scripted(named: dict[str, torch.Tensor], path: Path) -> None:
    """A TorchScript archive whose state dict holds these tensors, as OpenAI publishes."""

    class Holder(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Holder()
    for name, value in named.items():
        module: torch.nn.Module = root
        *parents, last = name.split(".")
        for part in parents:
            if not hasattr(module, part):
                module.add_module(part, Holder())
            module = getattr(module, part)
        module.register_buffer(last, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), str(path))


def test_keys_of_the_golden_file() -> None:
    """The names used above are OpenAI's."""
    keys = set(json.loads((GOLDEN / "clip_vit_b16.keys.json").read_text()))
    state = build_backbone("clip-vit-b16", None).tower.state_dict()
    assert {f"visual.{name}" for name in openai_names(state)} | set(openai_names(state)) >= keys


def save_convolutions(path: Path, name: str, seed: int = 0) -> Path:
    """A file of random weights under torchvision's names."""
    backbone = build_backbone(name, None, seed=seed)
    tensors = {f"features.{key}": value for key, value in backbone.tower.state_dict().items()}
    write_checkpoint(path, tensors, backbone.info)
    return path


def test_a_file_of_ours(tmp_path: Path) -> None:
    backbone = build_backbone("alexnet", None, seed=4)
    save_convolutions(tmp_path / "alexnet.safetensors", "alexnet", seed=4)
    loaded = build_backbone("alexnet", tmp_path / "alexnet.safetensors")
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded(image, block=2), backbone(image, block=2))
