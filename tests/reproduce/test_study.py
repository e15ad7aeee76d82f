"""The study runs from photos to its table, does not repeat what is there, and compares at equal PSNR."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import cells, make_photo
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
