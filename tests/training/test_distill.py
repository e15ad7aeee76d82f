"""A student learns the features of a teacher, keeps its licence and attribution, and continues after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.config import checked
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.io.weights import find_model
from tfmlc.networks import load_network
from tfmlc.training.distill import DistillConfig, Imitation, distill


def config_of(folder: Path, **loop: object) -> DistillConfig:
    for number in range(2):
        write_image(folder / f"{number}.png", Image(make_photo(120, 130) + number))
    values = {
        "weights": "random",
        "block": 1,
        "data": {"patch_px": 56, "photos": [folder], "scale": [0.9, 1.0]},
        "loop": {"steps": 4, "batch_size": 2, "warmup_steps": 0, "workers": 0, "trackers": [], **loop},
        "attribution": "made of photos by A. Person, CC BY 4.0",
    }
    return checked(DistillConfig, values)


@pytest.mark.heavy
def test_a_student_is_trained_and_named(tmp_path: Path) -> None:
    config = config_of(tmp_path / "photos")
    path = distill(config, tmp_path / "run")
    student = build_backbone("dinov2-student", path)
    assert student.info.licence == "Apache-2.0"
    assert student.info.origin.endswith("from dinov2-vit-s14 block 1; made of photos by A. Person, CC BY 4.0")
    before = path.read_bytes()
    assert distill(config, tmp_path / "run").read_bytes() == before
    with pytest.raises(UserError, match=r"data\.patch_px=60 must be a multiple of 14"):
        distill(config.model_copy(update={"data": config.data.model_copy(update={"patch_px": 60})}), tmp_path / "other")


@pytest.mark.heavy
def test_the_seed_draws_the_student(tmp_path: Path) -> None:
    found: list[bytes] = []
    for seed in (1, 2):
        config = config_of(tmp_path / "photos", seed=seed, steps=1, learning_rate=1e-9)
        found.append(distill(config, tmp_path / str(seed)).read_bytes())
    first, second = (load(content) for content in found)
    assert not any(torch.allclose(first[key], second[key]) for key in first if first[key].ndim == 4)


def test_features_are_measured_in_the_spread_of_the_teachers() -> None:
    teacher = build_backbone("dinov2-vit-s14", None, last_block=0)
    network = load_network(find_model("default-psnr"))
    rng = np.random.default_rng(0)
    sharp = torch.from_numpy(rng.random((2, 3, 28, 28), np.float32))
    imitation = Imitation(teacher, 0, network, sharp)
    perfect = (teacher(sharp, 0)[:, 1:] - imitation.place) / imitation.variance.sqrt()
    assert perfect.square().mean() == pytest.approx(1, rel=1e-3)
    values = imitation(build_backbone("dinov2-student", None), (sharp, sharp))
    assert float(values["loss"]) > 0.5
    partner = imitation._partner(sharp, sharp)  # pyright: ignore[reportPrivateUsage]
    assert partner.min() >= 0
    assert partner.max() <= 1
    assert partner.shape == sharp.shape
