"""The plan of a table names what each cell needs and what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.reproduce import estimate as module
from tfmlc.reproduce import inputs
from tfmlc.reproduce.cells import cells_of
from tfmlc.reproduce.estimate import estimate, slowness, step_costs
from tfmlc.reproduce.inputs import GridConfig

CLIP_SHA256 = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"


@pytest.fixture(autouse=True)
def _nothing_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFMLC_WEIGHTS", raising=False)
    monkeypatch.setattr(inputs, "kept_weights", lambda *_: None)


def plan(*arguments: object) -> list[str]:
    run = CliRunner().invoke(app, ["reproduce", *map(str, arguments), "--plan"])
    assert run.exit_code == 0, run.output
    return run.stdout.splitlines()


def block_of(lines: list[str], cell: str) -> list[str]:
    """The lines of a cell, the first one with its state."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{cell}: "))
    rest = lines[start + 1 :]
    return [lines[start], *rest[: next(number for number, line in enumerate(rest) if not line.startswith("  "))]]


def test_each_cell_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "GOPRO_Large").mkdir()
    (out := tmp_path / "out").mkdir()
    (out / "GoPro-hinet-control.json").touch()
    lines = plan("table1", f"gopro={tmp_path / 'GOPRO_Large'}", "-o", out)
    assert lines[0] == "table1: 18 cells of 6 training runs, 1 finished."
    assert "All hours and sizes are estimates" in lines[2]
    assert block_of(lines, "GoPro-hinet-control")[0] == "GoPro-hinet-control: finished"
    cell = block_of(lines, "GoPro-hinet-tfmlc")
    assert cell[0] == "GoPro-hinet-tfmlc: 3 inputs are missing"
    assert cell[2].endswith(f": at {tmp_path}/GOPRO_Large")
    assert "HINet-GoPro.pth from https://github.com/megvii-model/HINet: MISSING, put" in cell[3]
    assert f"/ViT-B-16.pt, sha256 {CLIP_SHA256}: MISSING, tfmlc models fetch clip-vit-b16" in cell[4]
    assert "triplets from the frames of GOPRO_Large_all.zip" in cell[5]
    real = block_of(lines, "RealBlur-R-hinet-tfmlc")
    assert real[1] == "  run: hinet-tfmlc, as above"
    assert "MISSING, see tfmlc data realblur, and set realblur_r=FOLDER" in real[2]


def test_every_run_of_the_tables_is_estimated() -> None:
    for table in ("table1", "table2", "table3"):
        for cell in cells_of(table, "clip-vit-b16"):
            assert estimate(cell.run, GridConfig()) is not None, cell.name
    lines = plan("table3", "backbone=dinov2-vit-s14")
    assert "its cost is not known, because tfmlc bench step --count does not cover this loss" in "".join(lines)
    assert lines[-1].endswith("and 6 runs whose cost is not known.")


def test_hours_and_memory_grow_with_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = {
        "network": "hinet, width 64",
        "kind": "control",
        "side_px": 256,
        "tflop": 1.0,
        "image_mib": 2048,
        "fixed_mib": 1024,
    }
    (file := tmp_path / "step_counts.json").write_text(json.dumps({"rows": [row]}))
    (tmp_path / "step.json").write_text(
        json.dumps({"rows": [{"network": "hinet, width 64", "loss": "control", "seconds": 3}]})
    )
    monkeypatch.setattr(module, "INSTALLED", tmp_path)
    run = next(cell.run for cell in cells_of("table1", "clip-vit-b16") if cell.run.name == "hinet-control")
    found = estimate(run, GridConfig(tflops=2))
    assert found is not None
    assert (found.steps, found.batch_size, found.patch_px) == (20_000, 4, 256)
    assert found.hours == 20_000 * 4 / 2 / 3600
    assert found.memory_gib == 1 + 4 * 2
    half = estimate(run, GridConfig(tflops=2, train=["loop.accumulate=2", "loop.steps=10000", "data.patch_px=128"]))
    assert half is not None
    assert half.hours == found.hours / 8
    assert half.memory_gib == 1 + 2 * 2 / 4
    file.write_text('{"rows": 3}')
    with pytest.raises(UserError, match=r"step_counts\.json is not a result of tfmlc bench step --count"):
        step_costs()


def test_a_slower_network_takes_longer() -> None:
    assert slowness("hinet, width 64") == 1
    assert 1.5 < slowness("mprnet-lite") < 3


def test_a_folder_that_is_not_there_is_named() -> None:
    run = CliRunner().invoke(app, ["reproduce", "table2", "gopro=nowhere", "--plan"])
    assert (run.exit_code, run.output) == (2, "tfmlc: gopro=nowhere does not exist: correct the path\n")
