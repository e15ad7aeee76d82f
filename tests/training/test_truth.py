"""What a run writes down is what ran, and what it learns from is as large as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from conftest import make_photo
from tfmlc.cli import app
from tfmlc.data.datasets.synthetic import SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.losses import Adapter, MadeFor
from tfmlc.networks import build_network, save_network
from tfmlc.training.presets import load_recipe
from tfmlc.training.state import check_same_recipe, read_state
from tfmlc.training.train import resolved, train_network


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.safetensors"
    save_network(path, build_network("hinet", width=12, depth=2, unshuffle=2), origin="test", licence="CC0-1.0")
    return path


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "adapter.safetensors"
    made_for = MadeFor("alexnet", 1, 64)
    Adapter(mode="token", width=192, hidden=8, made_for=made_for).save(path, origin="test", licence="CC0-1.0")
    return path


def test_sizes_backbone_and_mode_are_those_of_the_files(
    tmp_path: Path, photos: Path, start: Path, adapter: Path
) -> None:
    settings = [f"data.photos=[{photos}]", f"network.start={start}", "loss.kind=tfmlc", f"loss.adapter={adapter}"]
    settings += ["loss.weights=random", "loss.adapter_mode=flatten", "loop.steps=2", "loop.trackers=[]"]
    shown = CliRunner().invoke(app, ["train", "smoke", *settings, "--print-config"])
    assert shown.exit_code == 0, shown.output
    train_network(load_recipe("smoke", settings), tmp_path / "run")
    text = (tmp_path / "run" / "config.yaml").read_text()
    for written in (shown.stdout, text):
        values = yaml.safe_load(written)
        assert values["network"]["sizes"] == {"width": 12, "depth": 2, "normalised_levels": None, "unshuffle": 2}
        loss = values["loss"]
        assert (loss["backbone"], loss["block"], loss["adapter_mode"]) == ("alexnet", 1, "token")
    assert text.startswith("# ran on cpu in ")
    assert "weight of the feature loss 1000" in text.splitlines()[0]
    (tmp_path / "again.yaml").write_text(text)  # and the file goes on with the run
    again = load_recipe(str(tmp_path / "again.yaml"), ["loop.steps=2"])
    assert train_network(again, tmp_path / "run") == tmp_path / "run" / "weights.safetensors"


def test_sizes_that_the_network_chose_itself(photos: Path) -> None:
    recipe = load_recipe("smoke", ["network={name: nafnet}", f"data.photos=[{photos}]"])
    config, remarks = resolved(recipe)
    assert config.network.sizes["width"] == 32
    assert config.network.sizes["encoder_blocks"] == [1, 1, 1, 28]
    assert remarks == []
    assert resolved(config)[0] == config


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    recipe = load_recipe("hinet-gopro-tfmlc", [f"network.start={tmp_path}/no.pth", "loss.adapter=no.safetensors"])
    config, remarks = resolved(recipe)
    assert config == recipe
    assert [remark.split(" come from ")[0] for remark in remarks] == [
        "network.sizes",
        "loss.backbone, block and adapter_mode",
    ]


def test_runs_of_earlier_versions_go_on(tmp_path: Path, photos: Path, start: Path) -> None:
    settings = [f"data.photos=[{photos}]", f"network.start={start}", "loop.steps=2", "loop.trackers=[]"]
    recipe = load_recipe("smoke", settings)
    train_network(recipe, tmp_path / "run")
    written = read_state(tmp_path / "run" / "state.safetensors")[1].recipe
    earlier = {**written, "network": recipe.network.model_dump(mode="json")}
    check_same_recipe(tmp_path, earlier, written)
    with pytest.raises(UserError, match=r"network\.start"):
        check_same_recipe(tmp_path, earlier, {**written, "network": {**written["network"], "start": "other"}})


@pytest.mark.parametrize("size", [32, 56, 80])
def test_small_photos_are_left_out_and_counted_never_enlarged(tmp_path: Path, photos: Path, size: int) -> None:
    write_image(tmp_path / "icon.png", Image(make_photo(16, 16)))
    write_image(tmp_path / "edge.png", Image(make_photo(80, 31)))
    large = sorted(photos.iterdir())
    pairs = SyntheticPairs([tmp_path / "icon.png", *large, tmp_path / "edge.png"], BlurConfig(), patch_px=32, length=3)
    assert pairs.crops.photos == large
    assert [path.name for path in pairs.too_small] == ["icon.png", "edge.png"]
    with pytest.raises(UserError, match=r"all 1 photos are smaller than data\.patch_px=32, for example"):
        SyntheticPairs([tmp_path / "icon.png"], BlurConfig(), patch_px=32, length=3)
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    write_image(tmp_path / "noise.png", Image(noise))
    still = BlurConfig(strength_px=(0, 0), moving_patches=(0, 0), shot_noise=(0, 0), read_noise=(0, 0))
    _, sharp = SyntheticPairs([tmp_path / "noise.png"], still, patch_px=32, length=1, scale=(0.4, 0.4))[0]
    assert sharp.shape == (3, 32, 32)
    values = {tuple(pixel) for pixel in (sharp.permute(1, 2, 0) * 255).round().int().reshape(-1, 3).tolist()}
    assert values <= {tuple(pixel) for pixel in noise.reshape(-1, 3).tolist()}  # its own pixels, none made up


def test_a_run_says_what_it_leaves_out(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(photos / "icon.png", Image(make_photo(16, 16)))
    train_network(
        load_recipe("smoke", [f"data.photos=[{photos}]", "loop.steps=1", "loop.trackers=[]"]), tmp_path / "run"
    )
    assert "1 of 4 photos are too small for data.patch_px=48 and are left out (icon.png)" in capsys.readouterr().err


def test_a_smoke_run_says_that_it_passed(tmp_path: Path, photos: Path) -> None:
    settings = ["train", "default-first", f"data.photos=[{photos}]", "loop.workers=0", "--smoke"]
    shown = CliRunner().invoke(app, [*settings, "-o", str(tmp_path / "run")])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == "the smoke run passed all 8 steps: leave out --smoke to train"
