"""The deblurrer keeps types, has no seams, and does not hand out garbage in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from conftest import make_photo
from tfmlc.deblur import Deblurrer, GarbageWarning
from tfmlc.errors import UserError
from tfmlc.networks import Network, build_network


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
    torch.nn.init.normal_(network.get_parameter("last.weight"), std=0.01)  # what it makes is no garbage
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


def test_tiles_equal_the_whole_where_the_overlap_covers_the_view() -> None:
    image = torch.from_numpy(make_photo(160, 224)).permute(2, 0, 1)[None].float() / 255
    network = local_network()
    whole = Deblurrer(network, precision="fp32", tile_px=0)(image)
    tiled = Deblurrer(network, precision="fp32", tile_px=128, overlap_px=32)(image)
    assert float((whole - image).abs().max()) > 0.01  # the network does something
    assert float((whole - tiled).abs().max()) < 1e-3


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


def test_values_that_are_not_finite_are_an_error(photo: np.ndarray) -> None:
    with pytest.raises(UserError, match="not finite"):
        Deblurrer(Broken(float("nan")))(photo)


def test_garbage_is_warned_of(photo: np.ndarray) -> None:
    with pytest.warns(GarbageWarning):
        Deblurrer(Broken(1.0))(np.zeros_like(photo))


def test_tile_smaller_than_the_step_is_refused() -> None:
    with pytest.raises(UserError, match="step of 16 px"):
        Deblurrer(Same(), tile_px=8)


def test_unknown_model_and_device_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'default'"):
        Deblurrer.load("defautl")
    with pytest.raises(UserError, match="not usable here"):
        Deblurrer(Same(), device="tpu3")
