"""Scores: their definitions, and evaluations that are interrupted or shared by several models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.errors import UserError
from tfmlc.evaluation import evaluate as module
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.fidelity import psnr, ssim_2d, ssim_3d
from tfmlc.evaluation.metrics import METRICS
from tfmlc.images import Picture, read_rgb8, write_image
from tfmlc.networks import build_network, save_network


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for number in range(3):
        photo = make_photo(40 + number, 50)
        write_image(tmp_path / "set" / "sharp" / f"{number}.png", Picture(photo))
        write_image(tmp_path / "set" / "blur" / f"{number}.png", Picture(photo // 2 + 40))
    return tmp_path / "set"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "small.safetensors"
    save_network(path, build_network("hinet", width=8, depth=2), origin="test", licence="Apache-2.0")
    return str(path)


def test_values_of_the_official_code(shared: Path) -> None:
    golden = json.loads((shared / "golden" / "metric_values.json").read_text())["GOPR0384_11_00-000001"]
    blurry, sharp = (
        read_rgb8(next((shared / "data" / "gopro_pair" / side).rglob("*.png"))) for side in ("blur", "sharp")
    )
    assert psnr(blurry, sharp) == pytest.approx(golden["psnr_rgb_uint8"], abs=1e-6)
    assert ssim_3d(blurry, sharp) == pytest.approx(golden["ssim_3d_replicate"], abs=1e-5)
    assert ssim_2d(blurry, sharp) == pytest.approx(golden["ssim_2d_valid_per_channel"], abs=1e-5)
    assert ssim_2d(blurry, sharp) == pytest.approx(golden["ssim_skimage_gaussian"], abs=1e-5)


@pytest.mark.parametrize("metric", [ssim_2d, ssim_3d])
@pytest.mark.parametrize("size", [(1, 1), (5, 30), (64, 64)])
def test_ssim_is_one_for_equal_images_symmetric_and_finite(metric, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    constant = np.full_like(one, 7)
    assert metric(one, one) == pytest.approx(1)
    assert metric(constant, constant) == 1
    assert metric(one, two) == pytest.approx(metric(two, one))
    assert np.isfinite(metric(one, constant))


def test_models_together_are_scored_as_alone(tmp_path: Path, pairs: Path, model: str) -> None:
    names = ["psnr", "ssim_3d"]
    together = evaluate({"blurry": tmp_path / "a.json", model: tmp_path / "b.json"}, pairs, metrics=names)
    alone = evaluate({model: tmp_path / "c.json"}, pairs, metrics=names)
    assert together[model]["mean"] == alone[model]["mean"]
    written = json.loads((tmp_path / "b.json").read_text())
    assert written["mean"] == together[model]["mean"]
    assert written["images"] == 3
    assert list(written["per_image"]) == ["0.png", "1.png", "2.png"]
    assert written["model"] == "small.safetensors"
    blurry, sharp = (read_rgb8(pairs / side / "1.png") for side in ("blur", "sharp"))
    assert json.loads((tmp_path / "a.json").read_text())["per_image"]["1.png"]["psnr"] == psnr(blurry, sharp)


def test_an_interrupted_evaluation_goes_on(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []

    def stop_at_third(restored: np.ndarray, sharp: np.ndarray, names: list[str]) -> dict[str, float]:
        scored.append(1)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return {name: METRICS[name].compute(restored, sharp) for name in names}

    monkeypatch.setattr(module, "score_images", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate({"blurry": tmp_path / "a.json"}, pairs)
    partial = tmp_path / "a.json.partial"
    assert len(partial.read_text().splitlines()) == 3
    with partial.open("a") as file:
        file.write('{"image": "2.png", "sco')  # cut off
    with pytest.raises(UserError, match="is of another model, dataset or version"):
        evaluate({"blurry": tmp_path / "a.json"}, pairs, metrics=["ssim_2d"])
    evaluate({"blurry": tmp_path / "a.json"}, pairs)
    assert len(scored) == 4
    assert not partial.exists()
    whole = evaluate({"blurry": tmp_path / "b.json"}, pairs)["blurry"]["mean"]
    assert json.loads((tmp_path / "a.json").read_text())["mean"] == whole


@pytest.mark.weights
def test_dists_shares_the_sharp_image(tmp_path: Path, pairs: Path) -> None:
    pytest.importorskip("pyiqa", reason="needs the extra metrics")
    blurry, sharp = (read_rgb8(pairs / side / "1.png") for side in ("blur", "sharp"))
    other = read_rgb8(pairs / "sharp" / "2.png")[:-1]
    try:
        METRICS["dists"].compute(blurry, sharp)
    except UserError as error:
        pytest.skip(str(error))
    scores = [METRICS["dists"].compute(image, sharp) for image in (blurry, sharp, other)]
    assert scores[1] == pytest.approx(0, abs=1e-6)
    assert scores[0] == pytest.approx(METRICS["dists"].compute(blurry, sharp.copy()), abs=1e-6)
    assert scores[2] == pytest.approx(METRICS["dists"].compute(other, sharp.copy()), abs=1e-6)
