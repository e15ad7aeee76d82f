"""The guard finds every fault that is planted, and none in what a network should do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import make_photo
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.batch import Outcome, plan_batch, run_batch
from tfmlc.deblur.guard import WORDS, find_fault, measure
from tfmlc.io.images import Image, read_image, write_image
from tfmlc.networks import Network

HEIGHT, WIDTH = 400, 1000
TILE = slice(128, 256), slice(512, 640)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A photo with texture: a mesh hides nowhere, and a wrong tile shows."""
    noise = np.random.default_rng(0).normal(0, 12, (HEIGHT // 4, WIDTH // 4, 1)).astype(np.float32)
    return np.clip(make_photo(HEIGHT, WIDTH) + cv2.resize(noise, (WIDTH, HEIGHT))[..., None], 0, 255).astype(np.uint8)


def with_mesh(image: np.ndarray) -> np.ndarray:
    lines = (np.arange(image.shape[1]) % 4 == 0)[None, :, None] * 12.0
    return np.clip(image + lines - 3, 0, 255).astype(np.uint8)


def with_tile(image: np.ndarray, tile: np.ndarray | int) -> np.ndarray:
    changed = image.copy()
    changed[TILE] = tile
    return changed


def planted(image: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """Name of a fault: its kind and an image with it."""
    return {
        "mesh": ("mesh", with_mesh(image)),
        "too light": ("colour", np.clip(image * 1.2, 0, 255).astype(np.uint8)),
        "red and blue swapped": ("part", image[..., ::-1].copy()),
        "black": ("colour", np.zeros_like(image)),
        "black tile": ("part", with_tile(image, 0)),
        "white tile": ("part", with_tile(image, 255)),
    }


@pytest.mark.parametrize("name", ["mesh", "too light", "red and blue swapped", "black", "black tile", "white tile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_planted_faults_are_found(photo: np.ndarray, name: str, dtype: type) -> None:
    kind, changed = planted(photo)[name]
    scale = {np.uint8: 1, np.uint16: 257.0, np.float32: 1 / 255}[dtype]
    before, after = ((one * scale).astype(dtype) for one in (photo, changed))
    assert kind in measure(before, after).faults
    assert find_fault(before, after) in WORDS.values()
    assert find_fault(before, before) == ""


def test_a_tile_from_elsewhere_is_found_though_its_brightness_fits(photo: np.ndarray) -> None:
    spots = np.random.default_rng(1).normal(0, 40, (HEIGHT // 25, WIDTH // 25, 1)).astype(np.float32)
    spotted = np.clip(photo + cv2.resize(spots, (WIDTH, HEIGHT))[..., None], 0, 255).astype(np.uint8)
    turned = with_tile(spotted, spotted[TILE][::-1, ::-1])
    flat = with_tile(spotted, spotted[TILE].mean(axis=(0, 1)).astype(np.uint8))
    assert measure(spotted, turned).faults == ("part",)
    assert "part" in measure(spotted, flat).faults
    assert not measure(cv2.blur(spotted, (25, 1)), spotted).faults


def test_swapped_colours_are_found_though_all_means_stay() -> None:
    tint = np.random.default_rng(2).normal(0, 25, (HEIGHT // 25, WIDTH // 25, 1)).astype(np.float32)
    image = 128 + cv2.resize(tint, (WIDTH, HEIGHT))[..., None] * np.array([1, 0, -1], np.float32)
    image = np.clip(image - image.mean(axis=(0, 1)) + 128, 0, 255).astype(np.uint8)
    found = measure(image, image[..., ::-1].copy())
    assert found.colour < 0.01
    assert found.explained == 0


def test_one_wrong_tile_is_found(photo: np.ndarray) -> None:
    changed = photo.copy()
    changed[128:384, 512:768] = photo[100:356, 40:296]
    assert measure(photo, changed).faults == ("part",)


def test_strong_blur_that_is_removed_is_no_fault() -> None:
    x = np.arange(480) // 48 % 2  # bars of 48 px, which a blur of 60 px all but removes
    sharp = np.broadcast_to(np.where(x, 160, 90)[None, :, None], (384, 480, 3)).astype(np.uint8).copy()
    sharp[:128] = 60
    blurry = cv2.blur(sharp, (40, 1))
    assert measure(blurry, sharp).faults == ()


def test_halos_are_found() -> None:
    stripes = np.kron(np.indices((4, 8)).sum(0) % 2, np.ones((100, 100)))[..., None] * 90 + 80
    stripes = cv2.GaussianBlur(stripes.astype(np.uint8), (0, 0), 2)[..., None]
    assert "halo" in measure(stripes, halo_of(stripes)).faults


def halo_of(image: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(image, (0, 0), 8)[..., None].astype(float)
    return np.clip(smooth + 4 * (image - smooth), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (40, 60, 1), (64, 64, 4), (257, 255, 2)])
def test_any_size_and_channels(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert find_fault(image, image) == ""


# What happens then.


class Meshes(Network):
    """Draws a mesh, on bright photos only."""

    def __init__(self) -> None:
        super().__init__(step=16, floats_per_px=10)

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        lines = (torch.arange(blurry.shape[-1]) % 4 == 0) * 0.05 - 0.0125
        return (blurry + lines if blurry.mean() > 0.3 else blurry * 1.01,)


def outcomes(deblurrer: Deblurrer, folder: Path, output: Path | None) -> dict[str, Outcome]:
    batch = plan_batch([folder], output, in_place=output is None)
    return {outcome.job.source.name: outcome for outcome in run_batch(deblurrer, batch)}


@pytest.fixture
def folder(tmp_path: Path, photo: np.ndarray) -> Path:
    for name, pixels in (("bright.jpg", photo), ("dark.png", photo // 3), ("deep.png", photo.astype(np.uint16) * 257)):
        write_image(tmp_path / "in" / name, Image(pixels[:160, :200].copy()))
    return tmp_path / "in"


def test_photos_whose_result_has_a_fault_are_copied(folder: Path, tmp_path: Path) -> None:
    found = outcomes(Deblurrer(Meshes(), precision="fp32"), folder, tmp_path / "out")
    assert {name: outcome.kept for name, outcome in found.items()} == {
        "bright.jpg": "fault",
        "dark.png": "",
        "deep.png": "fault",
    }
    assert found["bright.jpg"].notes == (WORDS["mesh"],)
    for name, outcome in found.items():
        same = (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
        assert same == bool(outcome.kept)


def test_in_place_they_stay(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = outcomes(Deblurrer(Meshes(), precision="fp32"), folder, None)
    for name, outcome in found.items():
        assert ((folder / name).read_bytes() == before[name]) == bool(outcome.kept)


def test_a_result_in_another_format_has_the_same_pixels(folder: Path, tmp_path: Path) -> None:
    batch = plan_batch([folder / "deep.png"], tmp_path / "out.tif")
    [outcome] = run_batch(Deblurrer(Meshes(), precision="fp32"), batch)
    assert outcome.kept == "fault"
    assert np.array_equal(read_image(tmp_path / "out.tif").pixels, read_image(folder / "deep.png").pixels)


def test_frames_with_a_fault_are_copied_and_not_blended(folder: Path, tmp_path: Path) -> None:
    batch = plan_batch([folder], tmp_path / "out")
    found = list(run_batch(Deblurrer(Meshes(), precision="fp32"), batch, as_frames=True))
    assert [outcome.kept for outcome in found] == ["fault", "", "fault"]
    assert (tmp_path / "out" / "bright.jpg").read_bytes() == (folder / "bright.jpg").read_bytes()
