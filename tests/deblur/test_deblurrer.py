"""The deblurrer keeps types, has no seams, and does not hand out garbage in silence."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import gentle, make_photo
from tfmlc.deblur import Deblurrer, UnreliableResultWarning
from tfmlc.errors import UserError
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, build_network, load_network

random_weights = pytest.mark.filterwarnings("ignore::tfmlc.deblur.UnreliableResultWarning")


class Same(Network):
    """Hands its input back."""

    def __init__(self) -> None:
        super().__init__(step=16, floats_per_px=10)

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (blurry,)


class Broken(Same):
    """Gives what a test asks for instead of an image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (torch.full_like(blurry, self.value),)


def local_network() -> Network:
    """A HINet without instance norm: only its surroundings decide what becomes of a pixel."""
    torch.manual_seed(1)
    network = build_network("hinet", width=8, depth=3, normalised_levels=None)
    gentle(network)
    return network


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_come_back_as_they_were(photo: np.ndarray, channels: int | None, dtype: type) -> None:
    four = np.concatenate([photo, photo[::-1, :, :1]], axis=2).astype(dtype) * (1 if dtype is np.uint8 else 257)
    image = four[..., 0] if channels is None else four[..., :channels]
    answer = Deblurrer(Same(), precision="fp32")(image)
    assert answer.dtype == image.dtype
    assert np.array_equal(answer, image)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pil_images_come_back_as_they_were(photo: np.ndarray, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    answer = Deblurrer(Same(), precision="fp32")(image)
    assert answer.mode == mode
    assert np.array_equal(np.asarray(answer), np.asarray(image))


class Brighter(Same):
    """Moves every value by one of 255."""

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (blurry + 1 / 255,)


@pytest.mark.parametrize(("mode", "restored"), [("1", "LA"), ("L", "LA"), ("RGB", "RGBA")])
def test_of_pil_images_the_same_pixels_stay_transparent(photo: np.ndarray, mode: str, restored: str) -> None:
    """A colour that means transparency would mean other pixels after the restoration."""
    image = Image.fromarray(photo).convert(mode)
    image.info["transparency"] = image.getpixel((5, 5))
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert 0 < (alpha == 0).mean() < 1
    answer = Deblurrer(Brighter(), precision="fp32").unguarded()(image)
    assert (answer.mode, "transparency" in answer.info) == (restored, False)
    assert np.array_equal(np.asarray(answer.convert("RGBA"))[..., 3], alpha)


@pytest.mark.parametrize("mode", ["I;16", "I"])
@pytest.mark.parametrize("key", [0, 65_278, 65_535])
def test_of_deep_pil_images_the_same_pixels_stay_transparent(photo: np.ndarray, mode: str, key: int) -> None:
    """Pillow has no mode for alpha of 16 bits."""
    deep = photo[..., 0].astype(np.uint16) * 257
    deep[:9, :9], deep[9, :9] = key, max(0, key - 257)
    image = Image.fromarray(deep.astype(np.int32) if mode == "I" else deep)
    image.info["transparency"] = key
    answer = Deblurrer(Brighter(), precision="fp32").unguarded()(image)
    assert (answer.mode, answer.info["transparency"]) == (mode, key)
    assert np.array_equal(np.asarray(answer) == key, deep == key)


@pytest.fixture
def surroundings(request: pytest.FixtureRequest) -> Iterator[None]:
    contexts = {
        "inference_mode": torch.inference_mode,
        "no_grad": torch.no_grad,
        "autocast bf16": lambda: torch.autocast("cpu", torch.bfloat16),
        "autocast fp16": lambda: torch.autocast("cpu", torch.float16),
        "another default device": lambda: torch.device("meta"),
    }
    if request.param == "float64":
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)
    else:
        with contexts[request.param]():
            yield


SURROUNDINGS = ["inference_mode", "no_grad", "autocast bf16", "autocast fp16", "another default device", "float64"]


@pytest.mark.parametrize("surroundings", SURROUNDINGS, indirect=True)
def test_the_same_whatever_surrounds_it(surroundings: None, wanted: np.ndarray) -> None:
    deblur = Deblurrer.load("default", precision="fp32", tile_px=64)
    photo = make_photo(64, 80)
    assert np.abs(deblur(photo).astype(int) - wanted).max() <= 1
    tensor = torch.from_numpy(photo).permute(2, 0, 1).to(device="cpu", dtype=torch.float64) / 255
    answer = deblur(tensor)
    assert answer.dtype == torch.float64
    assert np.abs(answer.permute(1, 2, 0).numpy() * 255 - wanted).max() <= 1


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    deblur = Deblurrer.load("default", precision="fp32", tile_px=64)
    return deblur(make_photo(64, 80)).astype(int)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_of_other_precision(dtype: torch.dtype) -> None:
    image = torch.rand(1, 3, 20, 30).to(dtype)
    answer = Deblurrer(Same(), precision="fp32")(image)
    assert answer.dtype == dtype
    assert torch.equal(answer, image)


def test_a_tensor_with_a_gradient_and_in_channels_last(photo: np.ndarray) -> None:
    image = torch.rand(2, 3, 20, 30).contiguous(memory_format=torch.channels_last).requires_grad_()
    answer = Deblurrer(Same(), precision="fp32")(image)
    assert not answer.requires_grad
    assert torch.equal(answer, image.detach())
    weight = torch.ones(1, requires_grad=True)
    (weight * answer).sum().backward()  # what it answers can be trained on


@random_weights
def test_a_network_in_training_stays_so(photo: np.ndarray) -> None:
    network = local_network().train()
    network.register_module("noise", torch.nn.Dropout())
    Deblurrer(network, precision="fp32").unguarded()(photo)
    assert network.training
    assert network.noise.training
    assert all(value.requires_grad for value in network.parameters())
    network(torch.rand(1, 3, 16, 16))[-1].mean().backward()


@random_weights
def test_a_network_of_another_dtype(photo: np.ndarray) -> None:
    single = Deblurrer(local_network(), precision="fp32").unguarded()(photo).astype(int)
    double = Deblurrer(local_network().double(), precision="fp32").unguarded()(photo).astype(int)
    assert np.abs(single - double).max() <= 1


def test_loaded_under_inference_mode_it_can_be_trained() -> None:
    with torch.inference_mode():
        network = load_network(find_model("default"))
    torch.stack(network(torch.rand(1, 3, 32, 32))).mean().backward()
    assert float(network.get_parameter("conv_01.weight").grad.abs().max()) > 0


def test_threads_share_a_deblurrer(wanted: np.ndarray) -> None:
    deblur = Deblurrer.load("default", precision="fp32", tile_px=64)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(deblur, [make_photo(64, 80)] * 8))
    assert all(np.abs(answer.astype(int) - wanted).max() <= 1 for answer in answers)


@pytest.mark.parametrize("shape", [(3, 20, 30), (1, 3, 20, 30), (2, 3, 7, 7), (1, 3, 1, 1)])
def test_tensors_come_back_as_they_were(shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    answer = Deblurrer(Same(), precision="fp32")(image)
    assert answer.dtype == image.dtype
    assert torch.equal(answer, image)


@pytest.mark.parametrize("tile", [32, 48, 64])
def test_identity_has_no_seams(photo: np.ndarray, tile: int) -> None:
    answer = Deblurrer(Same(), precision="fp32", tile_px=tile)(photo)
    assert np.array_equal(answer, photo)


@random_weights
def test_tiles_equal_the_whole_where_the_overlap_covers_the_view() -> None:
    image = torch.from_numpy(make_photo(160, 224)).permute(2, 0, 1)[None].float() / 255
    network = local_network()
    whole = Deblurrer(network, precision="fp32", tile_px=0).unguarded()(image)
    tiled = Deblurrer(network, precision="fp32", tile_px=128, overlap_px=32).unguarded()(image)
    assert float((whole - image).abs().max()) > 0.01  # the network does something
    assert float((whole - tiled).abs().max()) < 1e-3


@random_weights
def test_the_best_restoration_does_not_depend_on_orientation(photo: np.ndarray) -> None:
    image = torch.from_numpy(photo[:96, :64].copy()).permute(2, 0, 1)[None].float() / 255
    made = (Deblurrer(local_network(), precision="fp32", tile_px=0, best=best) for best in (False, True))
    plain, best = (deblurrer.unguarded() for deblurrer in made)
    turned = image.flip(3).rot90(1, (2, 3))
    assert float((plain(turned) - plain(image).flip(3).rot90(1, (2, 3))).abs().max()) > 1e-3
    assert float((best(turned) - best(image).flip(3).rot90(1, (2, 3))).abs().max()) < 1e-5
    assert plain.fingerprint != best.fingerprint
    assert best.overlap_px == 2 * plain.overlap_px


@pytest.mark.parametrize("size", [(2000, 3), (600, 20), (177, 27), (3, 2000)])
def test_narrow_pictures_are_restored_as_wide_ones(size: tuple[int, int]) -> None:
    """PyTorch's bf16 convolutions of maps one wide gave noise on a CPU."""
    image = make_photo(*size)
    low, full = (Deblurrer.load(precision=precision)(image).astype(int) for precision in ("bf16", "fp32"))
    assert np.abs(low - full).max() <= 4


def test_progress_counts_every_tile(photo: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    Deblurrer(Same(), tile_px=64)(photo, on_tile=lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]
    assert len(seen) > 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        torch.zeros(1, 1, 4, 4),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
        torch.full((1, 3, 4, 4), 200.0),
        torch.full((1, 3, 4, 4), float("nan")),
        "photo.jpg",
    ],
)
def test_other_inputs_are_refused(image: Any) -> None:
    with pytest.raises(UserError):
        Deblurrer(Same())(image)


def test_values_that_are_not_finite_are_not_used(photo: np.ndarray) -> None:
    said: list[str] = []
    assert np.array_equal(Deblurrer(Broken(float("nan")))(photo, on_unreliable=said.append), photo)
    assert "not finite" in said[0]
    with pytest.raises(UserError, match="not finite"):
        Deblurrer(Broken(float("nan"))).unguarded()(photo)


def test_a_result_with_a_fault_is_not_used(photo: np.ndarray) -> None:
    with pytest.warns(UnreliableResultWarning) as found:
        answer = Deblurrer(Broken(1.0))(photo)
    assert found[0].filename == __file__
    assert np.array_equal(answer, photo)
    image = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 255
    with pytest.warns(UnreliableResultWarning) as found:
        assert torch.equal(Deblurrer(Broken(1.0))(image), image)
    assert found[0].filename == __file__
    unguarded = Deblurrer(Broken(1.0)).unguarded()
    assert unguarded(photo, on_unreliable=print).min() == 255
    assert unguarded.fingerprint != Deblurrer(Broken(1.0)).fingerprint


def test_a_fault_of_low_precision_is_mended_in_full(photo: np.ndarray) -> None:
    class Rough(Same):
        def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
            return (1 - blurry if torch.is_autocast_enabled("cpu") else 0.98 * blurry,)

    said: list[str] = []
    answer = Deblurrer(Rough(), precision="bf16")(photo, on_unreliable=said.append)
    assert not said
    assert np.abs(answer.astype(float) - 0.98 * photo).max() <= 0.5
    assert np.array_equal(Deblurrer(Rough(), precision="fp32")(photo), answer)


def test_tile_smaller_than_the_step_is_refused() -> None:
    with pytest.raises(UserError, match="size multiple of 16 px"):
        Deblurrer(Same(), tile_px=8)


def test_unknown_model_and_device_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'default'"):
        Deblurrer.load("defautl")
    with pytest.raises(UserError, match="not usable here"):
        Deblurrer(Same(), device="tpu3")


def test_a_deblurrer_says_what_it_is() -> None:
    assert repr(Deblurrer.load("default", device="cpu", precision="fp32", tile_px=256)) == (
        "Deblurrer(hinet, device='cpu', precision='fp32', tile_px=256, best=False)"
    )
