"""Strength: weights between fidelity and looks, on two models of any form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import make_photo
from tfmlc.deblur import Deblurrer
from tfmlc.errors import UserError
from tfmlc.io.weights import FROM_FIDELITY_TO_LOOKS
from tfmlc.networks import build_network, save_network


def saved(path: Path, seed: int, width: int = 8) -> Path:
    torch.manual_seed(seed)
    network = build_network("nafnet", width=width, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
    save_network(path, network, origin="a test", licence="CC0-1.0")
    return path


def test_the_ends_are_the_models_and_every_strength_has_a_fingerprint() -> None:
    prints = [Deblurrer.load("default", strength=strength).fingerprint for strength in (0, 0.25, 0.7, 1)]
    assert len(set(prints)) == 4
    ends = [Deblurrer.load(model).fingerprint for model in FROM_FIDELITY_TO_LOOKS]
    assert [prints[0], prints[3]] == ends
    assert prints[2] == Deblurrer.load("default", strength=0.7).fingerprint


def test_two_models_of_any_form_are_blended(tmp_path: Path) -> None:
    ends = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 2)
    one, other = (Deblurrer.load(end).network.state_dict() for end in ends)
    blended = Deblurrer.load(ends, strength=0.25, precision="fp32")
    for name, value in blended.network.state_dict().items():
        assert torch.allclose(value, 0.75 * one[name] + 0.25 * other[name], atol=1e-6)
    assert blended.unguarded()(make_photo(20, 30), on_unreliable=print).shape == (20, 30, 3)


def test_what_cannot_be_blended_is_one_line(tmp_path: Path) -> None:
    small, wide = saved(tmp_path / "a.safetensors", 1), saved(tmp_path / "b.safetensors", 1, width=16)
    for model, strength, why in (
        ((small, wide), 0.5, "same form"),
        ((small, small), None, "need a strength"),
        (small, 0.5, "leave out one"),
        ("default-psnr", 0.5, "leave out one"),
        ("default", 1.5, "from 0"),
        ("default", float("nan"), "from 0"),
    ):
        with pytest.raises(UserError, match=why):
            Deblurrer.load(model, strength=strength)
