"""The study runs from photos to its table, and does not repeat what is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import cells, make_photo
from tfmlc.config import checked
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import is_scored
from tfmlc.io.images import Image, write_image
from tfmlc.metrics.registry import unavailable
from tfmlc.networks import build_network, save_network
from tfmlc.reproduce import study as module
from tfmlc.reproduce.plan import METRICS, StudyConfig
from tfmlc.reproduce.study import study
from tfmlc.training import adapt as adapt_module


def config_of(tmp_path: Path, **changes: object) -> StudyConfig:
    values = {
        "photos": [tmp_path / "photos"],
        "sharp": {"test": tmp_path / "held"},
        "start": str(tmp_path / "start.safetensors"),
        "weights": "random",
        "hidden": 8,
        "steps": 2,
        "trial_steps": 1,
        "batch_size": 1,
        "patch_px": 64,
        "ratios": [1.0],
        "seeds": [0, 1],
        "only": ["control", "TFMLC"],
        "repeated": ["TFMLC"],
        "per_photo": 1,
        "triplets_per_photo": 1,
        "adapter_epochs": 1,
        **changes,
    }
    return checked(StudyConfig, values)


@pytest.mark.weights
@pytest.mark.heavy
def test_from_photos_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reasons := unavailable(METRICS):
        pytest.skip(next(iter(reasons.values())))
    noise = np.random.default_rng(0).integers(0, 40, (230, 240, 3), dtype=np.uint8)
    for number in range(5):
        folder = "held" if number == 4 else "photos"
        write_image(tmp_path / folder / f"{number}.png", Image(make_photo(230, 240) // 2 + number + noise))
    save_network(tmp_path / "start.safetensors", build_network("hinet", width=8, depth=2), origin="", licence="")
    table = study(config_of(tmp_path), tmp_path / "results", tmp_path / "work")
    lines = cells(table)[1:]
    assert [line[1] for line in lines] == ["blurry", "start", "control", "TFMLC"]
    assert "±" in lines[3][3]
    assert "±" not in lines[2][3]
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert [row["seeds"] for row in summary["rows"]] == [1, 1, 1, 2]
    assert summary["settings"]["steps"] == 2
    weight = json.loads((tmp_path / "work" / "runs" / "tfmlc-1" / "weight.json").read_text())
    assert weight["gradient_ratio"] == 1.0
    assert len(weight["batches"]) == 10

    def not_again(*arguments: object, **settings: object) -> None:
        raise AssertionError("done before")

    for place, name in ((module, "synthesize"), (adapt_module, "Loop"), (module, "evaluate")):
        monkeypatch.setattr(place, name, not_again)
    assert study(config_of(tmp_path), tmp_path / "results", tmp_path / "work") == table
    with pytest.raises(UserError, match=r"work has a study with other settings \(steps\)"):
        study(config_of(tmp_path, steps=3), tmp_path / "results", tmp_path / "work")
    write_image(tmp_path / "photos" / "0.png", Image(make_photo(230, 240)))
    with pytest.raises(UserError, match=r"work has a study with other settings \(photos\)"):
        study(config_of(tmp_path), tmp_path / "results", tmp_path / "work")
    with pytest.raises(UserError, match=r"test-tfmlc-0\.json holds scores of weights\.safetensors"):
        is_scored(
            tmp_path / "results" / "test-tfmlc-0.json",
            str(tmp_path / "work" / "runs" / "tfmlc-1" / "weights.safetensors"),
            tmp_path / "work" / "sets" / "test",
        )


def test_an_unknown_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'TFMLC'"):
        study(config_of(tmp_path, only=["TFML"]), tmp_path / "results", tmp_path / "work")
