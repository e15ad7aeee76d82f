"""Laws of the feature matching loss: what it measures, what it leaves alone, what it refuses."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import REPOSITORY
from tfmlc.backbones import build_backbone
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, write_checkpoint
from tfmlc.io.images import read_rgb8
from tfmlc.losses import Adapter, BaselineLoss, FeatureMatchingLoss, MadeFor, hinet_objective, mprnet_objective
from tfmlc.metrics.registry import unavailable


@pytest.fixture(scope="module")
def backbone() -> Any:
    return build_backbone("dinov2-vit-s14", None, last_block=3)


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sharp = torch.rand(2, 3, 56, 70, generator=generator)
    return (sharp + 0.05 * torch.randn(sharp.shape, generator=generator)).clamp(0, 1), sharp


def adapter_for(backbone: Any, mode: str = "token", tokens: int | None = None, seed: int = 0) -> Adapter:
    torch.manual_seed(seed)
    made_for = MadeFor(backbone.info.name, 3)
    adapter = Adapter(mode=mode, tokens=tokens, width=384, hidden=32, made_for=made_for)  # type: ignore[arg-type]
    adapter.train()(torch.randn(8, tokens or 5, 384))  # running statistics of its own
    return adapter


@pytest.fixture(params=["fmlc", "token", "flatten", "native"])
def loss(request: pytest.FixtureRequest, backbone: Any) -> FeatureMatchingLoss:
    if request.param == "fmlc":
        return FeatureMatchingLoss(backbone, block=2, size=112)
    if request.param == "native":
        return FeatureMatchingLoss(backbone, block=3, adapter=adapter_for(backbone), size="native")
    adapter = adapter_for(backbone, request.param, 26 if request.param == "flatten" else None)
    return FeatureMatchingLoss(backbone, block=3, adapter=adapter, size=70)


def test_zero_for_equal_images_and_symmetric(loss: FeatureMatchingLoss, images: Any) -> None:
    restored, sharp = images
    assert float(loss(sharp, sharp)) == 0
    assert float(loss(restored, sharp)) > 0
    assert float(loss(restored, sharp)) == pytest.approx(float(loss(sharp, restored)), rel=1e-4)


def test_grows_with_blur(loss: FeatureMatchingLoss) -> None:
    photo = read_rgb8(REPOSITORY / "examples" / "taxi.png")[80:192, 200:312]
    sharp = torch.tensor(photo).permute(2, 0, 1)[None].float() / 255
    values = [float(loss(nn.functional.avg_pool2d(sharp, size, 1, size // 2), sharp)) for size in (1, 3, 5, 9, 15)]
    assert values == sorted(values)


def test_stages_are_summed(loss: FeatureMatchingLoss, images: Any) -> None:
    restored, sharp = images
    stages = (restored, restored * 0.9, sharp)
    single = sum(float(loss(stage, sharp)) for stage in stages)
    assert float(loss(stages, sharp)) == pytest.approx(single, rel=1e-4)
    assert float(loss(list(stages), sharp)) == pytest.approx(single, rel=1e-4)


@pytest.mark.parametrize("size", ["native", 70])
def test_random_offset(backbone: Any, images: Any, size: Any) -> None:
    restored, sharp = images
    plain, moving = (FeatureMatchingLoss(backbone, block=2, size=size, offset=offset) for offset in ("none", "random"))
    torch.manual_seed(0)
    values = [float(moving((restored, restored), sharp)) for _ in range(4)]
    assert len(set(values)) > 1
    assert max(values) < 3 * min(values)
    assert float(moving(sharp, sharp)) == 0
    torch.manual_seed(0)
    assert float(moving((restored, restored), sharp)) == values[0]
    assert float(moving.eval()(restored, sharp)) == float(plain(restored, sharp))


def test_random_offset_leaves_no_grid_in_the_gradient(images: Any) -> None:
    backbone = build_backbone("dinov2-vit-s14", None, last_block=0)
    with torch.no_grad():  # trained patch embeddings, unlike random ones, look at the middle of a patch
        backbone.tower.patch_embed.proj.weight *= torch.outer(torch.hann_window(14), torch.hann_window(14))

    def grid(offset: Any) -> float:
        """How much the mean strength of the gradient differs between the places in a patch."""
        loss = FeatureMatchingLoss(backbone, block=0, size="native", offset=offset)
        restored, sharp = images[0][..., :56].clone().requires_grad_(), images[1][..., :56]
        total = torch.zeros(14, 14)
        torch.manual_seed(0)
        for _ in range(40):
            (gradient,) = torch.autograd.grad(loss(restored, sharp), restored)
            total += gradient.abs().sum(dim=(0, 1)).view(4, 14, 4, 14).sum(dim=(0, 2))
        return float(total.std() / total.mean())

    assert grid("none") > 3 * grid("random")  # of which the rest is the chance of 40 draws


def test_one_value_an_image(loss: FeatureMatchingLoss, images: Any) -> None:
    restored, sharp = images
    each = FeatureMatchingLoss(loss.backbone, block=loss.block, adapter=loss.adapter, size=loss.size, reduction="none")
    values = each((restored, restored), sharp)
    assert values.shape == (2,)
    assert float(values.mean()) == pytest.approx(float(loss((restored, restored), sharp)), rel=1e-5)
    assert float(values[1]) == pytest.approx(2 * float(loss(restored[1:], sharp[1:])), rel=1e-4)  # batch 1


def test_gradient_only_to_the_restored_image(backbone: Any, images: Any) -> None:
    adapter = adapter_for(backbone)
    tower = build_backbone("dinov2-vit-s14", None)
    tower.requires_grad_(True)
    loss = FeatureMatchingLoss(tower, block=3, adapter=adapter)
    modes = [module.training for module in [*tower.modules(), *adapter.modules()]]
    before = {name: value.clone() for name, value in adapter.state_dict().items()}
    restored, sharp = (image.clone().requires_grad_() for image in images)
    loss.train()(restored, sharp).backward()
    assert restored.grad is not None
    assert float(restored.grad.abs().max()) > 0
    assert sharp.grad is None
    parameters = [*tower.parameters(), *adapter.parameters()]
    assert all(parameter.grad is None for parameter in parameters)
    assert all(parameter.requires_grad for parameter in parameters)
    assert [module.training for module in [*tower.modules(), *adapter.modules()]] == modes
    assert all(torch.equal(value, before[name]) for name, value in adapter.state_dict().items())
    assert len(tower.tower.blocks) == 12


def test_evaluation_whatever_a_parent_does(loss: FeatureMatchingLoss, images: Any) -> None:
    first = float(loss(*images))
    parent = nn.ModuleList([loss])
    assert float(parent.train()[0](*images)) == first
    assert float(parent.eval()[0](*images)) == first


def test_sees_weights_that_change(backbone: Any, images: Any) -> None:
    adapter = adapter_for(backbone)
    loss = FeatureMatchingLoss(backbone, block=3, adapter=adapter)
    with torch.autocast("cpu", torch.bfloat16):
        first = float(loss(*images))
        adapter.load_state_dict({k: v * 2 if k == "6.weight" else v for k, v in adapter.state_dict().items()})
        assert float(loss(*images)) == pytest.approx(4 * first, rel=0.02)


def test_autocast(loss: FeatureMatchingLoss, images: Any) -> None:
    restored, sharp = images
    full = float(loss(restored, sharp))
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(restored.bfloat16().requires_grad_(), sharp)
    assert low.dtype == torch.float32
    low.backward()
    assert float(low.detach()) == pytest.approx(full, rel=0.1)


@pytest.mark.slow
def test_compiled(loss: FeatureMatchingLoss, images: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own
        assert float(torch.compile(loss)(*images)) == pytest.approx(float(loss(*images)), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_gradient_when_compiled(low: bool, images: Any) -> None:
    loss = FeatureMatchingLoss(build_backbone("clip-vit-b16", None), block=0)
    gradients: list[torch.Tensor] = []
    for form in (loss, torch.compile(loss)):
        restored = images[0].clone().requires_grad_()
        with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16, enabled=low):
            warnings.simplefilter("ignore")  # of the compiler's own
            form(restored, images[1]).backward()
        gradients.append(restored.grad)  # type: ignore[arg-type]
    assert float((gradients[0] - gradients[1]).abs().max()) <= 0.02 * float(gradients[0].abs().max())


def test_saved_and_loaded(backbone: Any, images: Any, tmp_path: Path) -> None:
    tower = build_backbone("dinov2-vit-s14", None)
    file = tmp_path / "dinov2.safetensors"
    write_checkpoint(file, tower.tower.state_dict(), tower.info)
    adapter = adapter_for(tower)
    adapter.save(tmp_path / "adapter.safetensors", origin="a test", licence="Apache-2.0")
    loaded = FeatureMatchingLoss.load(tmp_path / "adapter.safetensors", weights=file)
    assert loaded.block == 3
    assert loaded.backbone.last_block == 3
    wanted = FeatureMatchingLoss(tower, block=3, adapter=adapter)(*images)
    assert float(loaded(*images)) == pytest.approx(float(wanted), rel=1e-5)


class TestAdapterFiles:
    """An adapter's file says what it was made for; files of earlier versions said it in a dict, or in part."""

    @pytest.mark.parametrize(
        ("stored", "wanted"),
        [
            ({"backbone": "dinov2-vit-s14", "block": 1, "size": 98}, MadeFor("dinov2-vit-s14", 1, 98)),
            (
                {"backbone": "dinov2-vit-s14", "block": "final", "size": "native"},
                MadeFor("dinov2-vit-s14", "final", "native"),
            ),
            ({"backbone": "dinov2-vit-s14", "block": 2}, MadeFor("dinov2-vit-s14", 2, 224)),
            ({"block": 2}, MadeFor("dinov2-vit-s14", 2, 224)),
            ({}, None),
            (None, None),
        ],
    )
    def test_of_earlier_versions(self, tmp_path: Path, stored: Any, wanted: MadeFor | None) -> None:
        path, state = tmp_path / "a.safetensors", Adapter(mode="token", width=8, hidden=4).state_dict()
        sizes = {"mode": "token", "tokens": None, "width": 8, "hidden": 4}
        sizes |= {} if stored is None else {"made_for": stored}
        write_checkpoint(path, state, CheckpointInfo("adapter", "dinov2-vit-s14", sizes))
        adapter = Adapter.load(path)
        assert adapter.made_for == wanted
        adapter.save(tmp_path / "b.safetensors", origin="a test", licence="CC0-1.0")
        assert Adapter.load(tmp_path / "b.safetensors").made_for == wanted

    @pytest.mark.parametrize("stored", [7, {"block": "3"}, {"size": 2.5}, {"backbone": 1}])
    def test_that_do_not_fit(self, tmp_path: Path, stored: Any) -> None:
        path, state = tmp_path / "a.safetensors", Adapter(mode="token", width=8, hidden=4).state_dict()
        sizes = {"mode": "token", "width": 8, "hidden": 4, "made_for": stored}
        write_checkpoint(path, state, CheckpointInfo("adapter", "dinov2-vit-s14", sizes))
        with pytest.raises(UserError, match="does not fit its own description"):
            Adapter.load(path)

    def test_that_name_no_backbone(self, tmp_path: Path) -> None:
        Adapter(mode="token", width=8, hidden=4).save(tmp_path / "a.safetensors", origin="", licence="")
        with pytest.raises(UserError, match="does not name its backbone"):
            FeatureMatchingLoss.load(tmp_path / "a.safetensors")

    def test_settings_are_those_of_the_constructor(self, tmp_path: Path, images: Any) -> None:
        adapter = Adapter(mode="token", width=64, hidden=8, made_for=MadeFor("alexnet", 0, 98))
        adapter.save(tmp_path / "a.safetensors", origin="a test", licence="CC0-1.0")
        loss = FeatureMatchingLoss.load(tmp_path / "a.safetensors", weights="random", normalize=False, reduction="none")
        assert (loss.size, loss.normalize, loss(*images).shape) == (98, False, (2,))
        assert FeatureMatchingLoss.load(tmp_path / "a.safetensors", weights="random", size="native").size == "native"
        with pytest.raises(TypeError, match="normalise"):
            FeatureMatchingLoss.load(tmp_path / "a.safetensors", normalise=False)  # type: ignore[call-arg]


def test_what_a_loss_shows(backbone: Any) -> None:
    loss = FeatureMatchingLoss(backbone, block=3, adapter=adapter_for(backbone))
    wanted = "backbone=dinov2-vit-s14, block=3, adapter='token', normalize=True, size=224, reduction='mean'"
    assert repr(loss) == f"FeatureMatchingLoss({wanted}, offset='none')"
    shown = "mode='token', width=384, hidden=32, made_for=MadeFor(backbone='dinov2-vit-s14', block=3, size=224)"
    assert shown in repr(loss.adapter)


@pytest.mark.weights
def test_a_baseline_that_is_part_of_a_model_in_training_has_no_dropout() -> None:
    if reasons := unavailable(["lpips"]):
        pytest.skip(next(iter(reasons.values())))
    loss = BaselineLoss("LPIPS-alex").train()
    images = torch.rand(2, 1, 3, 64, 64)
    assert len({float(loss(*images)) for _ in range(4)}) == 1
    with pytest.raises(UserError, match=r"must lie in \[0, 1\]"):
        loss(*images * 255)


def test_an_adapter_of_other_weights_is_named() -> None:
    made_for = MadeFor("dinov2-vit-s14", 1, weights="0123456789abcdef")
    adapter = Adapter(mode="token", width=384, hidden=8, made_for=made_for)
    backbone = build_backbone("dinov2-vit-s14", None, last_block=1)
    with pytest.warns(UserWarning, match=r"other weights of dinov2-vit-s14 \(0123456789ab\) than these \(random\)"):
        FeatureMatchingLoss(backbone, block=1, adapter=adapter)
    adapter.made_for = replace(made_for, weights="random")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FeatureMatchingLoss(backbone, block=1, adapter=adapter)


class TestBadInput:
    def test_unknown_baseline(self) -> None:
        with pytest.raises(UserError, match=r"unknown baseline loss 'lpips-alex': did you mean 'LPIPS-alex'\?"):
            BaselineLoss("lpips-alex")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda r, s: (r[:, :1], s[:, :1]), "RGB images b 3 h w"),
            (lambda r, s: (torch.cat([r, r[:, :1]], 1), s), "RGB images b 3 h w"),
            (lambda r, s: (r[0], s[0]), "RGB images b 3 h w"),
            (lambda r, s: (r[:0], s[:0]), "empty"),
            (lambda _, s: ((), s), "b 3 h w"),
            (lambda r, s: ((r * 255).byte(), (s * 255).byte()), r"uint8: give floats in \[0, 1\]"),
            (lambda r, s: (r * 255, s * 255), r"must lie in \[0, 1\]"),
            (lambda r, s: (r, s * 2 - 1), r"sharp must lie in \[0, 1\]"),
            (lambda r, s: (r * 4 - 2, s), r"restored must lie in \[0, 1\]"),
            (lambda r, s: (r * float("nan"), s), "restored has values that are not finite"),
            (lambda r, s: (r, s / 0), "sharp has values that are not finite"),
            (lambda r, s: (r[..., 1:], s), "must be equal"),
            (lambda r, s: (r[:1], s), "must be equal"),
            (lambda r, s: (r.double(), s), "must be equal"),
        ],
    )
    def test_images(self, loss: FeatureMatchingLoss, images: Any, change: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message) as error:
            loss(*change(*images))
        assert "\n" not in str(error.value)

    def test_block_out_of_range(self, backbone: Any) -> None:
        with pytest.raises(UserError, match="its blocks are 0 to 11"):
            FeatureMatchingLoss(backbone, block=12)

    def test_adapter_of_another_backbone_or_block(self, backbone: Any) -> None:
        for name, block in (("clip-vit-b16", 3), ("dinov2-vit-s14", 2)):
            adapter = Adapter(mode="token", width=384, hidden=8, made_for=MadeFor(name, block))
            with pytest.raises(UserError, match=f"made for {name} block {block}, not for dinov2-vit-s14 block 3"):
                FeatureMatchingLoss(backbone, block=3, adapter=adapter)

    def test_adapter_of_another_size(self, backbone: Any, images: Any) -> None:
        loss = FeatureMatchingLoss(backbone, block=3, adapter=adapter_for(backbone, "flatten", 26))
        with pytest.raises(UserError, match="26 tokens of 384 numbers, the features are 257 tokens of 384"):
            loss(*images)

    @pytest.mark.parametrize("settings", [{"size": 0}, {"size": "large"}, {"reduction": "sum"}])
    def test_settings(self, backbone: Any, settings: Any) -> None:
        with pytest.raises(UserError):
            FeatureMatchingLoss(backbone, block=3, **settings)

    def test_files(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file"):
            FeatureMatchingLoss.load(tmp_path / "nothing.safetensors")
        torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
        with pytest.raises(UserError, match="holds no adapter: it holds tensors named a"):
            FeatureMatchingLoss.load(tmp_path / "other.pth")


def test_objectives_add_the_loss(loss: FeatureMatchingLoss, images: Any) -> None:
    restored, sharp = images
    stages = (restored, sharp)
    for objective in (hinet_objective, mprnet_objective):
        plain, whole = objective(stages, sharp), objective(stages, sharp, loss, 3.0)
        assert float(whole) == pytest.approx(float(plain) + 3 * float(loss(stages, sharp)), rel=1e-5)
