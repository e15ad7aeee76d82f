"""Scores: their definitions, and evaluations that are interrupted or shared by several models."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import make_photo
from tfmlc.errors import UserError
from tfmlc.evaluation import scoring as module
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.official import official_inference
from tfmlc.evaluation.sources import RestoreSettings
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.io.images.tensors import to_tensor
from tfmlc.metrics.fidelity import psnr, ssim_2d, ssim_3d
from tfmlc.metrics.protocols import PROTOCOLS, score
from tfmlc.metrics.registry import METRICS, unavailable
from tfmlc.networks import build_network, load_network, save_network


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for number in range(3):
        photo = make_photo(40 + number, 50)
        write_image(tmp_path / "set" / "sharp" / f"{number}.png", Image(photo))
        write_image(tmp_path / "set" / "blur" / f"{number}.png", Image(photo // 2 + 40))
    return tmp_path / "set"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "small.safetensors"
    network = build_network("hinet", width=8, depth=2)
    torch.nn.init.zeros_(network.last.weight)  # not far from its input
    save_network(path, network, origin="test", licence="Apache-2.0")
    return str(path)


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


def test_images_can_be_restored_as_the_official_code_does(tmp_path: Path, model: str) -> None:
    photo = make_photo(300, 280)
    for side in ("sharp", "blur"):
        write_image(tmp_path / "set" / side / "0.png", Image(photo))
    official = RestoreSettings(official=True, save=True)
    found = evaluate({model: tmp_path / "a.json"}, tmp_path / "set", restoring=official)[model]
    assert (found["precision"], found["tile_px"]) == ("fp32", "official")
    with torch.no_grad():
        wanted = official_inference(load_network(model).eval(), to_tensor(photo)[None])[0].clamp(0, 1)
    kept = read_rgb8(next((tmp_path / "a.images").rglob("0.png")))
    assert (kept == np.rint(wanted.permute(1, 2, 0).numpy() * 255)).all()


def test_an_interrupted_evaluation_goes_on(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []

    def stop_at_third(restored: np.ndarray, sharp: np.ndarray, names: list[str], _: object) -> dict[str, float]:
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
    with pytest.raises(UserError, match=r"is of another run \(metrics\)"):
        evaluate({"blurry": tmp_path / "a.json"}, pairs, metrics=["ssim_2d"])
    evaluate({"blurry": tmp_path / "a.json"}, pairs)
    assert len(scored) == 4
    assert not partial.exists()
    whole = evaluate({"blurry": tmp_path / "b.json"}, pairs)["blurry"]["mean"]
    assert json.loads((tmp_path / "a.json").read_text())["mean"] == whole


def test_finished_pictures_of_another_program(tmp_path: Path, pairs: Path) -> None:
    done = tmp_path / "done"
    for number in (2, 0, 1):
        write_image(done / f"{number}.bmp", Image(read_rgb8(pairs / "sharp" / f"{number}.png") // 2))
    found = evaluate({str(done): tmp_path / "a.json"}, pairs, protocols=["gopro-basicsr"])[str(done)]
    sharp = read_rgb8(pairs / "sharp" / "1.png")
    assert found["per_image"]["1.png"]["psnr"] == psnr(sharp // 2, sharp)
    assert found["mean"]["gopro-basicsr/psnr"] == pytest.approx(found["mean"]["psnr"])
    head = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert head == "image,gopro-basicsr/psnr,gopro-basicsr/ssim,psnr,seconds"
    write_image(done / "extra.png", Image(sharp))
    with pytest.raises(UserError, match=r"extra\.png belongs to no pair"):
        evaluate({str(done): tmp_path / "b.json"}, pairs)
    (done / "extra.png").unlink()
    write_image(done / "0.bmp", Image(sharp))
    with pytest.raises(UserError, match=r"0\.bmp and its blurry image differ in size: 50x41 and 50x40"):
        evaluate({str(done): tmp_path / "c.json"}, pairs)
    (done / "0.bmp").unlink()
    with pytest.raises(UserError, match=r"lacks 0, the restored image for .*0\.png \(1 missing"):
        evaluate({str(done): tmp_path / "d.json"}, pairs)


def test_pictures_of_16_bits_are_scored_as_the_8_bits_they_round_to(tmp_path: Path, pairs: Path) -> None:
    for number in range(3):
        for side in ("blur", "sharp"):
            image = read_rgb8(pairs / side / f"{number}.png").astype(np.uint16) * 257
            write_image(tmp_path / "deep" / side / f"{number}.png", Image(image + (100 if side == "blur" else 0)))
    means = [
        evaluate({"blurry": tmp_path / f"{folder.name}.json"}, folder, metrics=["psnr", "ssim_2d"])["blurry"]["mean"]
        for folder in (pairs, tmp_path / "deep")
    ]
    assert means[0] == means[1]


@pytest.mark.weights
def test_pictures_of_one_colour(tmp_path: Path) -> None:
    wanted = [name for name in METRICS if name not in ("pi", "pieapp", "pieapp_piq")]
    if reasons := unavailable(wanted):
        pytest.skip(next(iter(reasons.values())))
    for number, levels in enumerate(((100, 120), (9, 9))):
        for side, level in zip(("blur", "sharp"), levels, strict=True):
            write_image(tmp_path / "set" / side / f"{number}.png", Image(np.full((192, 192, 3), level, np.uint8)))
    found = evaluate({"blurry": tmp_path / "a.json"}, tmp_path / "set", metrics=wanted, protocols=list(PROTOCOLS))
    counts = found["blurry"]["not_finite"]
    assert counts["psnr"] == 1  # the equal pair
    assert counts["cw_ssim"] == counts["tfmlc-paper-mprnet/ssim"] == 2  # no wavelets
    assert set(counts) == {
        "psnr",
        "niqe",
        "cw_ssim",
        "tfmlc-paper-mprnet/ssim",
        *(name for name in METRICS if name.startswith("periodicity")),
        *(f"{name}/psnr" for name in PROTOCOLS),
    }
    values = [value for row in found["blurry"]["per_image"].values() for key, value in row.items() if "ssim" in key]
    assert max(value for value in values if value is not None) <= 1 + 1e-9


def test_a_result_that_looks_like_garbage_is_said(
    tmp_path: Path, pairs: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_network(model)
    torch.nn.init.constant_(network.get_parameter("last.bias"), 3.0)
    save_network(Path(model), network, origin="test", licence="Apache-2.0")
    evaluate({model: tmp_path / "a.json"}, pairs)
    said = capsys.readouterr().err
    for name in ("0.png", "1.png", "2.png"):
        assert said.count(f"small.safetensors, {name}: the result has another brightness or colour than the image") == 1


def test_all_protocols_and_what_is_not_finite_or_not_there(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(pairs / "blur" / "0.png", Image(read_rgb8(pairs / "sharp" / "0.png")))

    def none(*_: object) -> float:
        raise UserError("metric pi is not available: cannot load NRQM_model.mat")

    row = METRICS["pi"]
    monkeypatch.setitem(METRICS, "pi", replace(row, load=none))
    rounded = [name for name, protocol in PROTOCOLS.items() if name != "tfmlc-paper-mprnet"]
    output = tmp_path / "a.json"
    found = evaluate({"blurry": output}, pairs, metrics=["psnr", "pi"], protocols=rounded)["blurry"]
    assert found["not_finite"]["psnr"] == 1
    assert "NRQM_model.mat" in found["unavailable"]["pi"]
    written = json.loads(output.read_text())
    assert written["per_image"]["0.png"]["psnr"] is None
    errors = [psnr(*(read_rgb8(pairs / side / f"{n}.png") for side in ("blur", "sharp"))) for n in (1, 2)]
    assert written["mean"]["psnr"] == pytest.approx(np.mean(errors))
    pooled = 10 * np.log10(3 / sum(10 ** (-error / 10) for error in errors))
    assert written["mean"]["tfmlc-paper-hinet/psnr"] == pytest.approx(pooled, abs=1e-5)
    assert written["mean"]["realblur-ecc/aligned"] == 1


def test_realblur_scores_what_cannot_be_aligned() -> None:
    grey = np.full((40, 50, 3), 90, np.uint8)
    found = score(grey, make_photo(40, 50), protocol="realblur-ecc")
    assert found["aligned"] == 0
    assert np.isfinite([found["psnr"], found["ssim"]]).all()


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "tfmlc-paper-mprnet"])
def test_protocols_prefer_the_better_image(protocol: str) -> None:
    sharp = make_photo(80, 90)
    noise = np.random.default_rng(0).normal(size=sharp.shape)
    good, bad = (np.clip(np.rint(sharp + noise * sigma), 0, 255).astype(np.uint8) for sigma in (3, 12))
    better, worse = score(good, sharp, protocol=protocol), score(bad, sharp, protocol=protocol)
    assert better["psnr"] > worse["psnr"] > 10
    assert better["ssim"] > worse["ssim"]


def test_score_refuses_what_it_cannot_compare() -> None:
    photo = make_photo(20, 30)
    for restored, said in (
        (photo[:-1], "differ in size: 30x19 and 30x20"),
        (photo.astype(np.float32), "restored must be uint8"),
        (photo[..., :1], "restored must be uint8 RGB"),
    ):
        with pytest.raises(UserError, match=said):
            score(restored, photo)
    with pytest.raises(UserError, match="did you mean 'gopro-hinet'"):
        score(photo, photo, protocol="gopro-hinett")
    with pytest.raises(UserError, match="unknown protocol 'all'"):
        score(photo, photo, protocol="all")


@pytest.mark.weights
@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("psnr", 0.01), ("ssim_luma", 1e-3), ("lpips", 1e-3), ("dists", 1e-3), ("cw_ssim", 1e-3)],
)
def test_calibration(shared: Path, metric: str, tolerance: float) -> None:
    for ours, official in calibration(shared, metric):
        assert ours == pytest.approx(official, abs=tolerance)


@pytest.mark.weights
@pytest.mark.parametrize("metric", ["niqe", "brisque"])
def test_calibration_of_what_libraries_differ_in(shared: Path, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The official rows are of the original Python code; ours, by pyiqa, stay within a tenth of them or of MATLAB's."""
    pairs = calibration(shared, metric)
    with capsys.disabled():
        print(f"\n{metric}: " + ", ".join(f"{ours:.3f} for {official:.3f}" for ours, official in pairs))
    for ours, official in pairs:
        assert ours == pytest.approx(official, rel=0.1, abs=0.1)


def calibration(shared: Path, metric: str) -> list[tuple[float, float]]:
    if reasons := unavailable([metric]):
        pytest.skip(reasons[metric])
    folder = shared / "weights" / "calibration"
    with (folder / "results_official.csv").open() as file:
        rows = {row[0]: row[1:] for row in csv.reader(file)}
    names = [Path(name).stem for name in rows["Method"]][: 2 if metric == "dists" else None]  # VGG takes seconds
    official = rows[metric.removesuffix("_luma").replace("ssim_3d", "ssim")]
    images = [[read_rgb8(folder / side / f"{name}.png") for side in ("dist", "ref")] for name in names]
    return [
        (METRICS[metric].compute(*pair), float(value))
        for pair, value in zip(images, official[: len(names)], strict=True)
    ]


@pytest.mark.weights
def test_dists_shares_the_sharp_image(tmp_path: Path, pairs: Path) -> None:
    if reasons := unavailable(["dists"]):
        pytest.skip(reasons["dists"])
    blurry, sharp = (read_rgb8(pairs / side / "1.png") for side in ("blur", "sharp"))
    other = read_rgb8(pairs / "sharp" / "2.png")[:-1]
    scores = [METRICS["dists"].compute(image, sharp) for image in (blurry, sharp, other)]
    assert scores[1] == pytest.approx(0, abs=1e-6)
    assert scores[0] == pytest.approx(METRICS["dists"].compute(blurry, sharp.copy()), abs=1e-6)
    assert scores[2] == pytest.approx(METRICS["dists"].compute(other, sharp.copy()), abs=1e-6)
