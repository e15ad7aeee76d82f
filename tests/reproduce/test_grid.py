"""The paper's tables: every cell has the paper's values, says what it lacks, and its code runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import cells
from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.reproduce import grid, inputs, paper
from tfmlc.reproduce.cells import Cell, Run, cells_of
from tfmlc.reproduce.grid import as_table, generated_photo, reproduce_table
from tfmlc.reproduce.inputs import GridConfig
from tfmlc.training.presets import load_recipe


def test_cells_are_the_papers() -> None:
    first = {cell.name: cell.paper for cell in cells_of("table1", "clip-vit-b16")}
    assert first["RealBlur-R-mprnet-lite-tfmlc"]["pieapp"] == 0.6285
    assert first["RealBlur-J-hinet-control"]["psnr"] == 26.3620
    assert first["GoPro-hinet-tfmlc"] == {**paper.table3(3), **first["GoPro-hinet-tfmlc"]}
    for table in ("table1", "table2", "table3"):
        for cell in cells_of(table, "clip-vit-b16"):
            settings = [*cell.run.settings, *(["loss.adapter=a.safetensors"] if cell.run.adapted else [])]
            config = load_recipe(cell.run.preset, settings)
            assert (config.loss.block, config.loop.learning_rate < 1e-4) == (cell.run.block, True)
            assert set(cell.paper) == set(paper.COLUMNS)


def test_what_is_missing_is_named_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFMLC_WEIGHTS", raising=False)
    monkeypatch.setattr(inputs, "kept_weights", lambda *_: None)
    monkeypatch.setattr(grid, "unavailable", lambda _: {})  # which asks the hub
    (listed := tmp_path / "RealBlur_R_test_list.txt").write_text("")  # RealBlur can be a list as well as a folder
    config = GridConfig(gopro=tmp_path, realblur_r=listed)
    made = reproduce_table("table1", config, tmp_path / "out", tmp_path / "work")
    said = made.text
    assert len(made.missing) == said.count("missing: ") == len(cells_of("table1", config.backbone))
    line = next(line for line in said.splitlines() if line.startswith("- RealBlur-J-hinet-tfmlc"))
    assert "RealBlur-J from RealBlur.tar.gz, http://cg.postech" in line
    assert "see tfmlc data realblur, and set realblur_j=FOLDER" in line
    assert "HINet-GoPro.pth" in line
    assert "ViT-B-16.pt from https://openaipublic" in line
    assert "tfmlc synthesize triplets" in line
    line = next(line for line in said.splitlines() if line.startswith("- GoPro-hinet-control"))
    assert line == (
        "- GoPro-hinet-control: missing: HINet-GoPro.pth from https://github.com/megvii-model/HINet: "
        "put the official GoPro weights under that name into the folder that TFMLC_WEIGHTS names"
    )


def test_a_table_with_missing_cells_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "unavailable", lambda _: {})  # which asks the hub
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["reproduce", "table1"])
    assert run.exit_code == 1
    assert "- GoPro-hinet-control: missing: " in run.stdout
    assert any(line.startswith("| set") for line in run.stdout.splitlines())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        reproduce_table("table1", GridConfig(gopro=tmp_path / "nowhere"), tmp_path / "out", tmp_path / "work")


@pytest.mark.heavy
def test_a_quick_cell_runs_and_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "METRICS", ("periodicity",))
    monkeypatch.setattr(grid, "kept_weights", lambda *_: None)  # random ones, on any machine
    monkeypatch.setattr(paper, "BLOCKS", (1,))
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["reproduce", "table3", "backbone=dinov2-vit-s14", "--quick", "-o", "out"])
    assert run.exit_code == 0, run.output
    said = run.stdout.removesuffix("\n")
    config, output, work = GridConfig(backbone="dinov2-vit-s14"), Path("out"), Path("runs", "table3-quick")
    assert "Rehearsal: tiny networks on generated images." in said
    assert cells(said)[-1][:3] == ["GoPro", "hinet-dinov2-vit-s14-1", "rehearsal"]
    assert "difference" not in said
    summary = json.loads((output / "summary.json").read_text())
    assert summary["rehearsal"] is True
    assert {"psnr", "ssim"} <= summary["rows"][0]["ours"].keys()
    assert "paper" not in summary["rows"][0]
    page = (output / "report.html").read_text()
    assert "<strong>Rehearsal.</strong>" in page
    assert "Comparison with the paper" not in page
    assert all("rehearsal: " in (output / f"pairs.{suffix}").read_text() for suffix in ("md", "tex", "csv"))
    with pytest.raises(UserError, match=r"has the scores of a rehearsal \(--quick\): choose another"):
        reproduce_table("table3", config, output, work)
    other = GridConfig(backbone="dinov2-vit-s14", train=["loop.steps=9"])
    with pytest.raises(UserError, match="was made with other settings"):
        reproduce_table("table3", other, output, work, quick=True)

    def not_again(*_: object, **__: object) -> None:
        raise AssertionError("done before")

    monkeypatch.setattr(grid, "train_network", not_again)
    assert reproduce_table("table3", config, output, work, quick=True).text == said


def test_differences_and_gaps() -> None:
    cell = Cell(Run("x", "hinet-gopro-control"), "GoPro", paper.table3(1))
    table = as_table([{"set": "GoPro", "run": "x", "ours": {"psnr": 33.0}, "paper": cell.paper}])
    assert cells(table)[1] == ["GoPro", "x", "ours", "33.000", "-", "-", "-", "-", "-"]
    assert cells(table)[3][:5] == ["", "", "difference", "+0.489", "-"]


def test_generated_photos_differ_and_have_detail() -> None:
    one, two = generated_photo(64, 0), generated_photo(64, 1)
    assert (one != two).mean() > 0.5
    assert one.std() > 20
