"""The study runs from photos to its table, does not repeat what is there, and compares at equal PSNR."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conftest import cells, make_photo
from tfmlc.cli import app
from tfmlc.config import checked
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import is_scored
from tfmlc.io.files import write_atomically
from tfmlc.io.images import Image, write_image
from tfmlc.metrics.registry import unavailable
from tfmlc.networks import build_network, save_network
from tfmlc.reproduce import study as module
from tfmlc.reproduce.comparison import at_psnr, genuine_as_one, summarize
from tfmlc.reproduce.plan import METRICS, StudyConfig, fingerprint, label_of, losses, runs_of
from tfmlc.reproduce.study import _check_same_study, study
from tfmlc.training import adapt as adapt_module


def config_of(tmp_path: Path, **changes: object) -> StudyConfig:
    values = {
        "photos": [tmp_path / "photos"],
        "genuine": [tmp_path / "genuine"],
        "sharp": {"test": tmp_path / "held"},
        "start": str(tmp_path / "start.safetensors"),
        "weights": "random",
        "hidden": 8,
        "steps": 2,
        "batch_size": 1,
        "patch_px": 64,
        "prepared": 4,
        "scored_px": 192,
        "triplets": 4,
        "triplet_px": 42,
        "adapter_epochs": 1,
        "ratios": [1.0, 3.0],
        "seeds": [0, 1],
        "only": ["control", "TFMLC nuisance"],
        "repeated": ["control"],
        **changes,
    }
    return checked(StudyConfig, values)


def make_material(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 40, (230, 240, 3), dtype=np.uint8)
    for number in range(5):
        folder = "held" if number == 4 else "photos"
        write_image(tmp_path / folder / f"{number}.png", Image(make_photo(230, 240) // 2 + number + noise))
    for part, pixels in (("sharp", noise), ("blur", noise // 2 + 10)):
        write_image(tmp_path / "genuine" / part / "0.png", Image(pixels))
    save_network(tmp_path / "start.safetensors", build_network("hinet", width=8, depth=2), origin="", licence="")


@pytest.mark.weights
@pytest.mark.heavy
def test_from_photos_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reasons := unavailable(METRICS):
        pytest.skip(next(iter(reasons.values())))
    make_material(tmp_path)
    output, work = tmp_path / "results", tmp_path / "work"
    table = study(config_of(tmp_path), output, work)
    assert {line[2] for line in cells(table)[1:]} == {"TFMLC nuisance"}
    summary = json.loads((output / "summary.json").read_text())
    assert [(row["set"], row["ratio"]) for row in summary["curves"]] == [
        (place, ratio) for place in ("test", "all sets") for ratio in (1.0, 3.0)
    ]
    assert summary["control"]["test"]["psnr"] > 5
    assert summary["settings"]["steps"] == 2
    assert set(summary["adapters"]) == {"nuisance"}
    assert (output / "study.png").exists()
    weight = json.loads((work / "runs" / "tfmlc-nuisance-3-0" / "weight.json").read_text())
    assert weight["gradient_ratio"] == 3.0

    def not_again(*arguments: object, **settings: object) -> None:
        raise AssertionError("done before")

    for place, name in ((module, "synthesize"), (adapt_module, "Loop"), (module, "evaluate")):
        monkeypatch.setattr(place, name, not_again)
    assert study(config_of(tmp_path), output, work) == table
    with pytest.raises(UserError, match=r"work has a study with other settings \(steps\)"):
        study(config_of(tmp_path, steps=3), output, work)
    write_image(tmp_path / "photos" / "0.png", Image(make_photo(230, 240)))
    with pytest.raises(UserError, match=r"work has a study with other settings \(photos\)"):
        study(config_of(tmp_path), output, work)
    other = work / "runs" / "control-0-1" / "weights.safetensors"
    with pytest.raises(UserError, match=r"test-control-0-0\.json holds scores of weights\.safetensors"):
        is_scored(output / "test-control-0-0.json", str(other), work / "sets" / "test")


def test_a_study_that_failed_before_any_work_binds_nothing(tmp_path: Path) -> None:
    make_material(tmp_path)
    for settings in ({"steps": 2}, {"steps": 3}):
        _check_same_study(config_of(tmp_path, **settings), tmp_path / "work")
    state = tmp_path / "work" / "runs" / "control-0-0" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.touch()
    with pytest.raises(UserError, match=r"work has a study with other settings \(steps\)"):
        _check_same_study(config_of(tmp_path, steps=2), tmp_path / "work")


def test_an_unknown_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'TFMLC shared'"):
        study(config_of(tmp_path, only=["TFMLC shred"]), tmp_path / "results", tmp_path / "work")


def test_sets_to_score_on_are_asked_for_before_any_work(tmp_path: Path) -> None:
    given = ["study", f"photos=[{tmp_path}]", "-o", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    run = CliRunner().invoke(app, ["reproduce", *given])
    assert run.exit_code == 2
    assert run.stderr == "tfmlc: name a set to score on: pairs={NAME: FOLDER} or sharp={NAME: FOLDER}\n"
    both = {"pairs": {"test": tmp_path}, "sharp": {"test": tmp_path}}
    with pytest.raises(UserError, match="pairs and sharp both have a set 'test': give one another name"):
        study(config_of(tmp_path, **both), tmp_path / "results", tmp_path / "work")
    assert not list(tmp_path.iterdir())


def test_every_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    config = config_of(tmp_path, only=[])
    labels = [label_of(*run) for run in runs_of(config)]
    assert len(labels) == len(set(labels)) == 1 + 2 * (len(losses(config)) - 1) + 1


def test_scores_at_equal_psnr_lie_on_the_curve() -> None:
    curve = np.array([[0.0, 0.0], [-0.04, -0.01], [-0.2, -0.05]])
    found = np.concatenate([at_psnr(curve[None], lost) for lost in (0.02, 0.12, 0.3)])
    np.testing.assert_allclose(found[:2], [[-0.02, -0.005], [-0.12, -0.03]])
    assert np.isnan(found[2]).all()


def test_losses_are_compared_where_both_have_lost_the_same(tmp_path: Path) -> None:
    make_material(tmp_path)
    config = config_of(tmp_path, seeds=[0, 1], only=["control", "FMLC", "default", "LPIPS"])
    study_of = fingerprint(config)
    lost = {"control": (0.0,), "fmlc": (-0.1, -0.3), "default": (-0.2, -0.4), "lpips": (-0.1, -0.2)}
    for name, changes in lost.items():
        for seed in (0, 1) if name != "default" else (1,):  # seed 0 of default is not finished
            for ratio, change in zip((0,) if name == "control" else config.ratios, changes, strict=True):
                row = dict.fromkeys(METRICS, 0.0) | {"psnr": 30 + seed + change, "dists": change * (1 + seed)}
                section = {"model": name, "dataset": "test", "mean": row, "per_image": {"a": row, "b": row}}
                (tmp_path / f"test-{label_of(name, ratio, seed)}.json").write_text(
                    json.dumps(section | {"study": study_of})
                )
    summarize(config, tmp_path, {})
    found = json.loads((tmp_path / "summary.json").read_text())["differences"]
    at = {(row["loss"], row["against"]): row for row in found if row["lost_db"] == 0.1}
    assert set(at) == {("default", "FMLC"), ("default", "LPIPS")}
    assert {row["seeds"] for row in found} == {1}
    assert at["default", "FMLC"]["dists"]["value"] == pytest.approx(0)
    assert at["default", "LPIPS"]["lpips"] is None  # a loss is not judged by itself


def test_a_set_of_one_genuine_pair_weighs_as_one_image(tmp_path: Path) -> None:
    config = config_of(tmp_path, pairs={"six": tmp_path, "one": tmp_path})
    sets = {"six": np.zeros((1, 2, 6, 3)), "one": np.ones((1, 2, 1, 3)), "test": np.zeros((1, 2, 4, 3))}
    assert [float(changes.mean()) for changes in genuine_as_one(config, sets)] == [pytest.approx(1 / 7), 0]
    assert len(genuine_as_one(config_of(tmp_path), sets)) == 1


def test_scores_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    """Niqe is not finite on an image of one colour; psnr on an image that equals the sharp one."""
    make_material(tmp_path)
    config = config_of(tmp_path, only=[])
    rng = np.random.default_rng(0)
    for run in runs_of(config):
        rows = {f"{number}.png": dict(zip(METRICS, rng.random(6), strict=True)) for number in range(3)}
        rows["1.png"]["niqe"] = None
        if run[0] == "FMLC":
            rows = {name: row | {"dists": None} for name, row in rows.items()}
        section = {"study": fingerprint(config), "model": "", "dataset": "", "mean": {}, "per_image": rows}
        write_atomically(tmp_path / f"test-{label_of(*run)}.json", json.dumps(section).encode())
    assert summarize(config, tmp_path, {})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert all(np.isfinite(value) for value in summary["control"]["test"].values())
    curves = {(row["set"], row["loss"]): row for row in summary["curves"]}
    assert curves["test", "FMLC"]["dists"] is None
    assert curves["test", "FMLC"]["niqe"] is not None
    assert (tmp_path / "study.png").exists()
