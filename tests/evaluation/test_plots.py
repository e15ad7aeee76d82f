"""Plots are drawn from plain numbers, and say what they need."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tfmlc.errors import UserError
from tfmlc.evaluation import plots


def test_plots_on_a_page_hold_their_labels() -> None:
    page = plots.svg_of_models({"first": (30.0, 0.2), "second": (31.0, 0.1)}, "psnr in dB", plots.LPIPS)
    assert page.startswith("<svg")
    assert all(f"<!-- {text} -->" in page for text in ("first", "second", "psnr in dB", plots.LPIPS))
    page = plots.svg_before_and_after({"model": [(24.0, 25.0), (26.0, 25.5)]}, "psnr")
    assert "<!-- restored, psnr -->" in page


def test_plots_in_files(tmp_path: Path) -> None:
    sweep = [{"ratio": ratio, "psnr": 30 - ratio, "lpips": 0.2 - 0.1 * ratio} for ratio in (0.0, 0.5)]
    (tmp_path / "sweep.png").write_bytes(b"of an earlier run")
    (tmp_path / "same.png").hardlink_to(tmp_path / "sweep.png")
    plots.draw_sweep(tmp_path / "sweep.png", sweep)
    assert (tmp_path / "same.png").read_bytes() == b"of an earlier run"  # replaced, not overwritten
    (tmp_path / "same.png").unlink()
    point = {"value": -0.1, "low": -0.2, "high": 0.0}
    curves = [{"loss": name, "psnr": point, "lpips": point, "niqe": point} for name in ("FMLC", "default")]
    plots.draw_study(tmp_path / "study.png", curves, ("lpips", "niqe"))
    plots.draw_study(tmp_path / "nothing.png", [], ("lpips",))
    history = [{"loss": 0.5, "accuracy": 0.6}, {"loss": 0.4, "accuracy": 0.8}]
    plots.draw_adaptation(tmp_path / "adapter.png", history, {"shared": np.array([0.1, 0.4])}, 1.0)
    rows = [{"stage": "second", "step": step, "psnr": psnr} for step, psnr in ((10, 20.0), (20, 21.0))]
    plots.draw_curves(tmp_path / "curves.png", {"hinet": {"seconds_per_step": 2.0, "rows": rows}})
    names = {"sweep.png", "study.png", "nothing.png", "adapter.png", "curves.png"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"plots need matplotlib: pip install 'tfmlc\[train\]'"):
        plots.svg_of_models({"first": (30.0, 0.2)}, "", "")
