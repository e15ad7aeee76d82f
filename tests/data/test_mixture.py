"""Mixtures of training sources, and pairs that are made once."""

from __future__ import annotations

from pathlib import Path
from pickle import PicklingError

import numpy as np
import pytest
import torch
import yaml

from conftest import make_photo
from tfmlc.config import checked
from tfmlc.data.datasets.mixture import Mixture, PreparedPairs, _save, prepare, turned_spectrum
from tfmlc.data.datasets.synthetic import SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.motion_spectrum import cell_centres, motion_spectrum
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.training.data import DataConfig, Draw, build_dataset
from tfmlc.training.objective import mesh_ratio


def synthetic(photos: Path, cell_px: int | None = None) -> SyntheticPairs:
    blur = BlurConfig(strength_px=(3, 6), sub_exposures=(9, 9))
    return SyntheticPairs(sorted(photos.iterdir()), blur, patch_px=64, length=10, cell_px=cell_px)


def spectrum_of(shift: tuple[float, float]) -> np.ndarray:
    """The spectrum of a straight motion, ``24 2 2``."""
    poses = np.eye(3)[None].repeat(9, axis=0)
    poses[:, :2, 2] = np.linspace(-0.5, 0.5, 9)[:, None] * shift
    return motion_spectrum(poses, cell_centres(32, 16)).reshape(-1, 2, 2)


@pytest.mark.parametrize(
    ("rotation", "mirrored", "shift"),
    [(1, False, (6, 12)), (2, False, (12, -6)), (0, True, (-12, -6)), (1, True, (6, -12)), (3, False, (6, 12))],
)
def test_spectra_turn_with_their_images(rotation: int, mirrored: bool, shift: tuple[float, float]) -> None:
    turned = turned_spectrum(spectrum_of((12, -6)), rotation, mirrored)
    assert np.allclose(turned, spectrum_of(shift), atol=1e-6)


def test_prepared_pairs_are_those_of_their_dataset(tmp_path: Path, photos: Path) -> None:
    dataset = synthetic(photos, cell_px=16)
    prepare(dataset, 5, tmp_path / "prepared", {"name": "a"}, workers=1)
    prepared = PreparedPairs(tmp_path / "prepared", patch_px=64, length=5, cell_px=16)
    made = {float(dataset[index][1].mean()): dataset[index] for index in range(5)}
    read = [prepared[index] for index in range(5)]
    assert sorted(made) == pytest.approx(sorted(float(item[1].mean()) for item in read), abs=1e-4)
    for item in read:
        blurry, _, spectrum = made[min(made, key=lambda mean: abs(mean - float(item[1].mean())))]
        assert float(item[0].mean()) == pytest.approx(float(blurry.mean()), abs=1e-4)
        assert float(item[2].mean()) == pytest.approx(float(spectrum.mean()), abs=1e-3)
    with pytest.raises(UserError, match="was prepared with other settings"):
        prepare(dataset, 5, tmp_path / "prepared", {"name": "b"}, workers=1)


def test_prepared_pairs_are_not_used_for_other_photos(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(2):
        write_image(photos / f"{number}.png", Image(make_photo(96, 96) // (number + 1)))
    config = DataConfig(photos=[photos], prepare=2, prepared_px=64, patch_px=32, scale=(1, 1))
    build_dataset(config, Draw(4, 0), tmp_path / "run")
    write_image(photos / "2.png", Image(make_photo(96, 96)))
    with pytest.raises(UserError, match="was prepared with other settings or photos: remove it"):
        build_dataset(config, Draw(4, 0), tmp_path / "run")


@pytest.mark.parametrize(
    "setting",
    [
        "photos: [p]",
        "pairs: p",
        "exclude: [REDS_001*]",
        "only: [a]",
        "blur_kind: blur_gamma",
        "crop_px: 512",
        "fraction: 0.5",
        "scale: [1, 1]",
        "saturation: 0.2",
        "blur: {strength_px: [1, 2]}",
        "easy: {}",
        "prepare: 4",
    ],
)
def test_a_setting_beside_sources_is_refused(tmp_path: Path, photos: Path, setting: str) -> None:
    beside = yaml.safe_load(f"{{{setting}}}")
    config = checked(DataConfig, {"sources": {"one": {"photos": [photos]}}, **beside})
    name = next(iter(beside))
    with pytest.raises(
        UserError, match=rf"replaces data\.{name}: move it into a source, as data\.sources\.one\.{name}"
    ):
        build_dataset(config, Draw(4, 0), tmp_path / "run")


def test_prepared_pairs_are_the_same_for_every_seed(tmp_path: Path, photos: Path) -> None:
    config = DataConfig(photos=[photos], prepare=2, prepared_px=64, patch_px=32)
    found: list[bytes] = []
    for seed in (0, 1):
        dataset = build_dataset(config, Draw(4, seed), tmp_path / str(seed) / "run")
        assert isinstance(dataset, PreparedPairs)
        assert dataset.seed == seed
        found.append((dataset.folder / "00000.npy").read_bytes())
    assert found[0] == found[1]


def test_a_patch_that_is_larger_than_the_prepared_pairs_is_refused() -> None:
    sources = {"one": {"photos": ["photos"], "prepare": 2, "prepared_px": 64}}
    for data in ({"sources": sources}, sources["one"]):
        with pytest.raises(UserError, match=r"prepared_px=64 is smaller than patch_px=96"):
            checked(DataConfig, {"patch_px": 96, **data})


@pytest.mark.parametrize("kept", [0, 50, 5000])
def test_a_block_that_is_cut_off_is_one_line(tmp_path: Path, photos: Path, kept: int) -> None:
    prepare(synthetic(photos), 2, tmp_path / "prepared", {}, workers=1)
    block = tmp_path / "prepared" / "00000.npy"
    block.write_bytes(block.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"00000\.npy is missing or damaged: remove .*prepared to prepare it again"):
        PreparedPairs(tmp_path / "prepared", patch_px=64, length=2)[0]


def test_a_block_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, PicklingError), match="pickle"):
        _save(tmp_path / "00000.npy", np.array([lambda: 0], object))
    assert not list(tmp_path.iterdir())


def test_a_mixture_draws_by_weight_and_marks_unknown_blur(photos: Path) -> None:
    known, unknown = synthetic(photos, cell_px=16), synthetic(photos)
    mixture = Mixture({"known": (3.0, known), "unknown": (1.0, unknown)}, length=40, spectrum=(24, 4))
    items = [mixture[index] for index in range(40)]
    assert all(item[2].shape == (24, 4, 4) for item in items)
    assert 20 < sum(bool(item[2].isfinite().all()) for item in items) < 38
    assert all(torch.equal(one, other) for one, other in zip(mixture[7], items[7], strict=True) if one.isfinite().all())


def test_the_mesh_of_an_error_is_measured() -> None:
    torch.manual_seed(0)
    noise = torch.randn(4, 3, 64, 64)
    mesh = torch.zeros(4, 3, 64, 64)
    mesh[..., ::4, ::4] = 1.0
    assert 0.8 < float(mesh_ratio(noise)) < 1.2
    assert float(mesh_ratio(noise + mesh)) > 5
