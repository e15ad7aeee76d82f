"""Periodicity: what it is by definition, what it answers to, and where it is to be had."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.evaluation import score
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.io.images import Image, write_image
from tfmlc.metrics.periodicity import periodicity


def rough_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, 3))
    return np.clip(make_photo(height, width) * 0.8 + 20 + noise, 0, 255).astype(np.uint8)


def with_mesh(image: np.ndarray, period: int, strength: float) -> np.ndarray:
    rows, columns = np.indices(image.shape[:2])
    mesh = strength * ((rows % period == 0) | (columns % period == 0))
    return np.clip(image + mesh[..., None], 0, 255).astype(np.uint8)


def by_the_letter(image: np.ndarray) -> float:
    """The formula of docs/reference/scores.md, bin by bin."""
    height, width = image.shape[0] // 8 * 8, image.shape[1] // 8 * 8
    grey = image[:height, :width].astype(np.float64).mean(axis=2)
    window = np.hanning(height)[:, None] * np.hanning(width)[None, :]
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    found = []
    for down, right in ((0, 1 / 4), (1 / 4, 0), (1 / 4, 1 / 4), (0, 1 / 2), (1 / 2, 0)):
        row, column = round(down * height), round(right * width)
        peak = [power[(row + i) % height, (column + j) % width] for i in range(-2, 3) for j in range(-2, 3)]
        around = [power[(row + i) % height, (column + j) % width] for i in range(-14, 15) for j in range(-14, 15)]
        found.append(np.mean(peak) / np.median(around))
    return max(found)


@pytest.mark.parametrize("size", [(96, 128), (101, 143), (200, 136)])
def test_it_is_the_formula(size: tuple[int, int]) -> None:
    for image in (rough_photo(*size), with_mesh(rough_photo(*size), 4, 5)):
        assert periodicity(image) == pytest.approx(by_the_letter(image), rel=1e-9)


@pytest.mark.parametrize("period", [4, 8, 14, 16])
def test_each_period_answers_to_its_own_mesh(period: int) -> None:
    plain = np.random.default_rng(0).integers(80, 120, (240, 320, 3), dtype=np.uint8)
    weak, strong = (periodicity(with_mesh(plain, period, strength), period) for strength in (2 * period, 4 * period))
    assert periodicity(plain, period) < 10
    assert strong > weak > 2 * periodicity(plain, period)
    assert strong > 50


def test_brightness_and_place_do_not_matter() -> None:
    image = with_mesh(rough_photo(160, 160), 4, 6) // 2
    brighter = image + np.uint8(100)
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    assert periodicity(brighter) == pytest.approx(periodicity(image))
    assert periodicity(turned) == pytest.approx(periodicity(image))


def test_no_value_where_there_is_none() -> None:
    assert math.isnan(periodicity(np.full((64, 64, 3), (1, 2, 4), np.uint8)))
    assert math.isnan(periodicity(rough_photo(31, 64)))
    assert math.isfinite(periodicity(rough_photo(32, 64)))


def test_it_is_a_score(tmp_path: Path) -> None:
    image = rough_photo(64, 80)
    found = score(image, image, metrics=("psnr", "ssim", "periodicity", "periodicity-8"))
    assert found["periodicity"] == periodicity(image)
    assert found["periodicity-8"] == periodicity(image, 8)
    for number in range(2):
        for side in ("blur", "sharp"):
            write_image(tmp_path / "set" / side / f"{number}.png", Image(rough_photo(64, 80, number)))
    evaluate({"blurry": tmp_path / "a.json"}, tmp_path / "set", metrics=["periodicity", "periodicity-14"])
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["per_image"]["0.png"]["periodicity"] == periodicity(image)
    assert written["mean"]["periodicity"] == np.mean([periodicity(rough_photo(64, 80, n)) for n in range(2)])
