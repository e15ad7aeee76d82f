"""The loss in real training loops: modes, dtypes, devices, processes, and checkpoints of a module that holds it."""

from __future__ import annotations

import copy
import functools
import pickle
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from PIL import Image
from torch import Tensor, nn

from tfmlc.backbones import Backbone, build_backbone
from tfmlc.errors import UserError
from tfmlc.losses import Adapter, FeatureMatchingLoss, charbonnier, edge, psnr_loss


def fresh_backbone(name: str = "dinov2-vit-s14") -> Backbone:
    return build_backbone(name, None, last_block=1)


kept_backbone = functools.cache(fresh_backbone)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return kept_backbone()


def fresh_adapter() -> Adapter:
    """As a user makes one: training mode, gradients wanted, running statistics that are not the standard ones."""
    torch.manual_seed(0)
    adapter = Adapter(mode="token", width=384, hidden=16)
    adapter(torch.randn(64, 5, 384))
    return adapter


class Model(nn.Module):
    """A network of one layer and its loss, as people write it."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Conv2d(3, 3, 3, padding=1)
        self.loss = loss

    def forward(self, blurry: Tensor, sharp: Tensor) -> Tensor:
        return self.loss(self.net(blurry).sigmoid(), sharp)


@pytest.fixture
def model(backbone: Backbone) -> Model:
    return Model(FeatureMatchingLoss(backbone, block=1, adapter=fresh_adapter(), size="native"))


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    blurry, sharp = torch.rand(2, 2, 3, 28, 28, generator=generator, dtype=torch.float32)
    return blurry, sharp


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradient(loss: Any, images: tuple[Tensor, Tensor]) -> tuple[float, Tensor]:
    restored = images[0].clone().requires_grad_()
    value = loss(restored, images[1])
    value.backward()
    assert restored.grad is not None
    return float(value.detach()), restored.grad


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("dinov2-vit-s14", None),
        ("dinov2-vit-s14", torch.bfloat16),
        ("dinov2-vit-s14", torch.float16),
        ("alexnet", torch.float16),
        pytest.param("clip-vit-b32", torch.bfloat16, marks=pytest.mark.slow),
        pytest.param("clip-rn50", torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_inference_mode_first_then_training(name: str, dtype: torch.dtype | None, images: Any) -> None:
    """Lightning checks a validation step under inference mode before it trains."""
    loss = FeatureMatchingLoss(kept_backbone(name), block=1, size=64)
    fresh = FeatureMatchingLoss(loss.backbone, block=1, size=64)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        with torch.inference_mode():
            seen = float(loss(*images))
        value, found = gradient(loss, images)
        wanted_value, wanted = gradient(fresh, images)
    assert value == wanted_value == pytest.approx(seen, rel=1e-3)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("low", [False, True], ids=["fp32", "bf16"])
def test_built_under_inference_mode(images: Any, low: bool) -> None:
    with torch.inference_mode():
        loss = FeatureMatchingLoss(fresh_backbone(), block=1, adapter=fresh_adapter(), size="native")
        loss.to("cpu")
        sharp = images[1].clone()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        value, found = gradient(loss, (images[0], sharp))
        normal = FeatureMatchingLoss(kept_backbone(), block=1, adapter=fresh_adapter(), size="native")
        wanted_value, wanted = gradient(normal, images)
    assert value == pytest.approx(wanted_value, rel=1e-3 if low else 1e-6)
    assert torch.allclose(found, wanted, atol=(0.05 if low else 1e-5) * float(wanted.abs().max()))


def test_nothing_of_the_loss_is_a_parameter_of_the_model(model: Model, images: Any) -> None:
    assert [name for name, _ in model.named_parameters()] == ["net.weight", "net.bias"]
    assert list(model.state_dict()) == ["net.weight", "net.bias"]
    assert not list(model.buffers())
    before = float(model(*images).detach())
    statistics = {key: value.clone() for key, value in model.loss.adapter.state_dict().items()}
    assert float(model.train()(*images).detach()) == before
    model.requires_grad_(True)
    model(*images).backward()
    assert all(value.grad is None for part in (model.loss.backbone, model.loss.adapter) for value in part.parameters())
    assert model.loss.adapter.training  # the adapter is still the user's own
    assert all(torch.equal(value, statistics[key]) for key, value in model.loss.adapter.state_dict().items())


def test_two_steps_under_ddp(model: Model, images: Any, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            parallel(*images).backward()
    finally:
        torch.distributed.destroy_process_group()
    assert float(model.net.weight.grad.abs().max()) > 0


def test_a_frozen_part_runs_itself_and_is_copied_only_for_another_dtype(backbone: Backbone, images: Any) -> None:
    adapter = fresh_adapter().eval().requires_grad_(False)
    loss = FeatureMatchingLoss(backbone, block=1, adapter=adapter, size="native")
    loss(*images)
    assert loss._parts.on(torch.device("cpu"), torch.float32) == (backbone, adapter)
    assert not loss._parts._copies
    with torch.autocast("cpu", torch.bfloat16):
        loss(*images)
        loss(*images)
    assert len(loss._parts._copies) == 2  # backbone and adapter, once
    copied, _ = loss._parts.on(torch.device("cpu"), torch.bfloat16)
    assert {value.dtype for value in copied.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}


def test_sharp_image_is_looked_at_once(model: Model, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = torch.aminmax
    monkeypatch.setattr(torch, "aminmax", lambda value: (looked.append(value.data_ptr()), look(value))[1])
    stages = [images[0], images[0] * 0.9, images[0] * 0.8]
    model.loss(stages, images[1])
    assert looked.count(images[1].data_ptr()) == 1
    assert len(looked) == len(stages) + 1


class TestOldCheckpoints:
    """Earlier versions stored the frozen parts: ``loss.backbone...`` and ``loss.adapter...``."""

    @staticmethod
    def old_state(model: Model) -> dict[str, Tensor]:
        parts = {"backbone": model.loss.backbone, "adapter": model.loss.adapter}
        frozen = {f"loss.{n}.{k}": v.clone() for n, part in parts.items() for k, v in part.state_dict().items()}
        return {**{key: value + 1 for key, value in model.state_dict().items()}, **frozen}

    def test_load_strictly(self, model: Model, images: Any) -> None:
        before = float(model.loss(*images))
        old = self.old_state(model)
        names = set(old)
        model.load_state_dict(old, strict=True)
        assert torch.equal(model.net.bias, old["net.bias"])
        assert float(model.loss(*images)) == before
        assert set(old) == names  # the caller's dict is as it was
        half = {key: value.half() if "loss." in key else value for key, value in old.items()}
        model.load_state_dict(half, strict=True)

    def test_of_the_loss_alone_and_in_a_parent(self, model: Model) -> None:
        old = {key.removeprefix("loss."): value for key, value in self.old_state(model).items() if "loss." in key}
        model.loss.load_state_dict(old, strict=True)
        parent = nn.ModuleDict({"a": model})
        parent.load_state_dict({f"a.{key}": value for key, value in self.old_state(model).items()}, strict=True)

    def test_of_more_blocks(self, model: Model) -> None:
        old = self.old_state(model)
        whole = build_backbone("dinov2-vit-s14", None)
        old |= {f"loss.backbone.{key}": value for key, value in whole.state_dict().items()}
        model.load_state_dict(old, strict=True)

    @pytest.mark.parametrize("name", ["backbone", "adapter"])
    def test_another_part_is_told(self, model: Model, images: Any, name: str) -> None:
        before = float(model.loss(*images))
        old = self.old_state(model)
        key = next(key for key in old if key.startswith(f"loss.{name}.") and old[key].is_floating_point())
        old[key] = old[key] + 1
        with pytest.warns(UserWarning, match=f"holds another {name} than this loss"):
            model.load_state_dict(old, strict=True)
        assert float(model.loss(*images)) == before

    def test_others_are_refused_as_ever(self, model: Model) -> None:
        with pytest.raises(RuntimeError, match="Unexpected key"):
            model.load_state_dict({**model.state_dict(), "loss.other": torch.zeros(1)}, strict=True)


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("name", "size", "low"), [("dinov2-vit-s14", "native", False), ("alexnet", 42, True)])
def test_float64_as_default_dtype(images: Any, name: str, size: Any, low: bool) -> None:
    loss = FeatureMatchingLoss(fresh_backbone(name), block=1, size=size)
    adapted = FeatureMatchingLoss(kept_backbone(), block=1, adapter=fresh_adapter(), size=size)
    for form in (loss, adapted):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            single, double = (
                gradient(form, tuple(image.to(dtype) for image in images)) for dtype in (torch.float32, torch.float64)
            )
        assert double[0] == pytest.approx(single[0], rel=1e-6)
        assert double[1].dtype == torch.float64
        assert float((double[1] - single[1]).abs().max()) <= 1e-6 * float(single[1].abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_images_of_other_precision(model: Model, images: Any, dtype: torch.dtype) -> None:
    wanted, _ = gradient(model.loss, images)
    value, found = gradient(model.loss, tuple(image.to(dtype) for image in images))
    assert value == pytest.approx(wanted, rel=1e-6 if dtype == torch.float64 else 0.05)
    assert found.dtype == dtype


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
def test_a_cast_model_leaves_the_frozen_weights_alone(model: Model, images: Any, cast: str) -> None:
    wanted = float(model.loss(*images))
    getattr(model, cast)()
    assert {value.dtype for value in model.net.parameters()} != {torch.float32}
    assert float(model.float().loss(*images)) == wanted


def test_memory_format(model: Model, images: Any) -> None:
    wanted_value, wanted = gradient(model.loss, images)
    model.to(memory_format=torch.channels_last)
    last = tuple(image.contiguous(memory_format=torch.channels_last) for image in images)
    value, found = gradient(model.loss, last)
    assert value == pytest.approx(wanted_value, rel=1e-5)
    assert torch.allclose(found, wanted, atol=1e-5 * float(wanted.abs().max()))


def test_default_device_and_the_meta_device(model: Model, images: Any) -> None:
    wanted = float(model.loss(*images))
    resized = FeatureMatchingLoss(model.loss.backbone, block=1, size=42)
    known = float(resized(*images))
    with torch.device("meta"):  # stands for any other default device
        assert float(model.loss(*images)) == wanted
        assert float(resized(*images)) == known
    model.to("meta")  # takes the model's own values, the frozen ones cannot be had again
    assert float(model.loss(*images)) == wanted


def test_copies_and_pickles(model: Model, images: Any) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        low = float(model(*images).detach())
    wanted_value, wanted = gradient(model.loss, images)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert made.loss.backbone is not model.loss.backbone
        value, found = gradient(made.loss, images)
        assert value == wanted_value
        assert torch.equal(found, wanted)
        with torch.autocast("cpu", torch.bfloat16):
            assert float(made(*images).detach()) == low
        made.load_state_dict(TestOldCheckpoints.old_state(model), strict=True)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    assert list(averaged.state_dict()) == ["n_averaged", "module.net.weight", "module.net.bias"]


def report_loss(model: Model, images: tuple[Tensor, Tensor], path: str) -> None:
    Path(path).write_text(str(gradient(model.loss, images)[0]))


@pytest.mark.multiprocess
@pytest.mark.slow
def test_in_a_spawned_process(model: Model, images: Any, tmp_path: Path) -> None:
    process = torch.multiprocessing.get_context("spawn").Process(
        target=report_loss, args=(model, images, str(tmp_path / "value"))
    )
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert float((tmp_path / "value").read_text()) == pytest.approx(gradient(model.loss, images)[0], rel=1e-5)


def test_threads_share_a_loss(backbone: Backbone, images: Any) -> None:
    loss = FeatureMatchingLoss(backbone, block=1, adapter=fresh_adapter(), size="native")
    wanted = gradient(FeatureMatchingLoss(backbone, block=1, adapter=fresh_adapter(), size="native"), images)[1]
    found: list[Tensor] = []
    threads = [threading.Thread(target=lambda: found.append(gradient(loss, images)[1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.allclose(one, wanted, rtol=1e-4, atol=1e-7) for one in found)


@pytest.mark.slow
def test_compiled_after_inference_mode(model: Model, images: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own
        compiled = torch.compile(model)
        with torch.inference_mode():
            seen = float(compiled(*images))
        with torch.autocast("cpu", torch.bfloat16):
            compiled(*images).backward()
    assert seen == pytest.approx(float(model(*images).detach()), rel=1e-3)
    assert float(model.net.weight.grad.abs().max()) > 0


ARRAY = np.zeros((1, 3, 28, 28), np.float32)


@pytest.mark.parametrize(
    ("restored", "sharp", "message"),
    [
        (ARRAY, ARRAY, "restored must be a torch tensor, RGB images b 3 h w; it is a numpy.ndarray"),
        (torch.from_numpy(ARRAY), ARRAY, "sharp must be a torch tensor, RGB images b 3 h w; it is a numpy.ndarray"),
        (
            [ARRAY],
            torch.from_numpy(ARRAY),
            "restored must be a torch tensor, RGB images b 3 h w; it is a numpy.ndarray",
        ),
        (Image.new("RGB", (28, 28)), torch.from_numpy(ARRAY), "it is a PIL.Image"),
        ({"stage": torch.from_numpy(ARRAY)}, torch.from_numpy(ARRAY), "it is a dict"),
        (None, torch.from_numpy(ARRAY), "it is a NoneType"),
        ((), torch.from_numpy(ARRAY), "restored has no stages: give RGB images b 3 h w"),
    ],
)
def test_other_types_get_a_sentence(model: Model, restored: Any, sharp: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        model.loss(restored, sharp)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", [psnr_loss, charbonnier, edge])
def test_pixel_losses_refuse_what_cannot_be_compared(loss: Any) -> None:
    image = torch.rand(1, 3, 8, 8)
    for restored, message in (
        (ARRAY, "must be a torch tensor"),
        (image[:, :1], "must be equal"),
        (image[0], "b c h w"),
    ):
        with pytest.raises(UserError, match=message):
            loss(restored, image)
