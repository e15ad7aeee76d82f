"""Training learns, and a run that was killed ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import make_photo
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.networks import load_network
from tfmlc.training.presets import PRESETS, load_recipe
from tfmlc.training.state import STATE, read_state
from tfmlc.training.train import TrainConfig, train_network


def recipe(photos: Path, *settings: str) -> TrainConfig:
    return load_recipe("smoke", [f"data.photos=[{photos}]", *settings])


def test_presets_are_valid() -> None:
    for name in PRESETS:
        assert load_recipe(name, ["data.photos=[x]"]).loop.steps >= 1


@pytest.mark.multiprocess
def test_a_stopped_run_resumes_bit_for_bit(tmp_path: Path, photos: Path) -> None:
    whole = train_network(recipe(photos), tmp_path / "whole")
    for stop in (4, None):
        parts = train_network(recipe(photos, "loop.workers=1"), tmp_path / "parts", stop_at=stop)
    for name in ("state", "weights"):
        one = load_file(whole.with_name(f"{name}.safetensors"))
        two = load_file(parts.with_name(f"{name}.safetensors"))
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.equal(value, two[key]), key


@pytest.mark.multiprocess
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, photos: Path) -> None:
    arguments = ["train", "smoke", f"data.photos=[{photos}]", "loop.steps=16", "loop.save_every_steps=2"]
    whole = train_network(recipe(photos, "loop.steps=16", "loop.save_every_steps=2"), tmp_path / "whole")
    command = [sys.executable, "-m", "tfmlc.cli", *arguments, "-o", str(tmp_path / "killed")]
    state = tmp_path / "killed" / "state.safetensors"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not state.exists() and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists() or load_network(
        state.with_name("weights.safetensors")
    )
    resumed = train_network(recipe(photos, "loop.steps=16", "loop.save_every_steps=2"), tmp_path / "killed")
    one, two = load_file(whole), load_file(resumed)
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
def test_a_resumed_optimiser_is_the_same(tmp_path: Path, photos: Path, optimiser: str) -> None:
    settings = [
        f"loop.optimiser={optimiser}",
        "data.easy={strength_px: [3, 3]}",
        "data.easy_fraction=0.5",
        "blur_heads=1",
    ]
    whole = train_network(recipe(photos, *settings), tmp_path / "whole")
    for stop in (4, None):
        parts = train_network(recipe(photos, *settings), tmp_path / "parts", stop_at=stop)
    one, two = load_file(whole.with_name("state.safetensors")), load_file(parts.with_name("state.safetensors"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_training_learns_one_blur(tmp_path: Path, photos: Path) -> None:
    one = "strength_px: [9, 9], exposure: [0.1, 0.1], direction_deg: [0, 0], turning: 0, moving_patches: [0, 0]"
    settings = ["loop.steps=60", "loop.learning_rate=2e-3", f"data.blur={{{one}}}", "data.patch_px=64"]
    weights = train_network(recipe(photos, *settings), tmp_path / "run")
    assert "60 of 60 steps" in load_network(weights).info.origin
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((tmp_path / "run" / "log").rglob("events*")).parent))
    events.Reload()
    gains = [event.value for event in events.Scalars("gain_db")]
    assert len(gains) == 6  # every tenth step
    assert gains[-1] > gains[0] + 1


def test_trains_on_ready_pairs(tmp_path: Path) -> None:
    for side in ("blur", "sharp"):
        (tmp_path / "set" / side).mkdir(parents=True)
        write_image(tmp_path / "set" / side / "a.png", Image(make_photo(80, 90)))
    config = load_recipe("smoke", [f"data.pairs={tmp_path / 'set'}", "loop.steps=2"])
    assert load_network(train_network(config, tmp_path / "run")).info.name == "hinet"
    small = load_recipe("smoke", [f"data.pairs={tmp_path / 'set'}", "data.patch_px=96"])
    with pytest.raises(UserError, match="smaller than"):
        train_network(small, tmp_path / "other")


def test_the_second_task_is_learned_and_left_behind(tmp_path: Path, photos: Path) -> None:
    settings = [
        "loop.steps=40",
        "loop.learning_rate=2e-3",
        "blur_heads=1",
        "data.patch_px=64",
        "data.blur.strength_px=[9,9]",
    ]
    weights = train_network(recipe(photos, *settings), tmp_path / "run")
    assert load_network(weights).info.name == "hinet"
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((tmp_path / "run" / "log").rglob("events*")).parent))
    events.Reload()
    errors = [event.value for event in events.Scalars("spectrum_error")]
    assert errors[-1] < 0.7 * errors[0]
    nafnet = ["network.name=nafnet", "network.sizes={}", "blur_heads=1"]
    with pytest.raises(UserError, match="blur_heads works only with hinet"):
        train_network(recipe(photos, *nafnet), tmp_path / "other")
    with pytest.raises(UserError, match=r"blur_heads needs data\.photos"):
        train_network(load_recipe("smoke", [f"data.pairs={photos}", "blur_heads=1"]), tmp_path / "third")


def test_starts_from_weights_and_refuses_others(tmp_path: Path, photos: Path) -> None:
    first = train_network(recipe(photos, "loop.steps=2"), tmp_path / "first")
    again = train_network(recipe(photos, "loop.steps=2", f"network.start={first}"), tmp_path / "second")
    assert load_network(again).info.hyperparameters == load_network(first).info.hyperparameters
    with pytest.raises(UserError, match="contains hinet weights"):
        train_network(
            recipe(photos, f"network.start={first}", "network.name=nafnet", "network.sizes={}"), tmp_path / "third"
        )


def test_a_changed_or_foreign_state_is_refused(tmp_path: Path, photos: Path) -> None:
    train_network(recipe(photos, "loop.steps=2"), tmp_path / "run")
    with pytest.raises(UserError, match=r"learning_rate 0\.001 -> 0\.1"):
        train_network(recipe(photos, "loop.steps=2", "loop.learning_rate=0.1"), tmp_path / "run")
    (tmp_path / "run" / "state.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="not weights"):
        train_network(recipe(photos, "loop.steps=2"), tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, photos: Path) -> None:
    train_network(recipe(photos), tmp_path / "run", stop_at=4)
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    config = recipe(photos, "loop.learning_rate=1e30")
    with pytest.raises(UserError, match="not finite \\(at step"):
        train_network(config, tmp_path / "run", force=True)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state


def test_a_mixture_of_sources_with_a_motion_task(tmp_path: Path, photos: Path) -> None:
    pairs = tmp_path / "pairs"
    strong = BlurConfig(strength_px=(9, 9), sub_exposures=(9, 9), shot_noise=(0, 0), read_noise=(0, 0))
    synthesize([photos], pairs, SetConfig(kind="pairs", images="photos", blur=strong), workers=1)
    blur = "blur: {strength_px: [2, 6], sub_exposures: [9, 9]}"
    sizes = "{widths: [8, 8], encoder_blocks: [1, 1], decoder_blocks: [1], code: 8, head: [4, 4, 4]}"
    settings = [
        f"network={{name: spectral-unet, sizes: {sizes}}}",
        f"data.sources={{made: {{photos: [{photos}], prepare: 4, prepared_px: 80, {blur}}}, "
        f"fly: {{photos: [{photos}], exclude: ['0.png'], {blur}}}, pairs: {{pairs: {pairs}, fraction: 0.5}}}}",
        "data.blur={}",
        "data.patch_px=64",
        "blur_heads=0.5",
        "mesh=0.03",
        f"validation={{pairs: {pairs}, only: ['*1.png'], every_steps: 4, crop_px: 64}}",
        "loop.trackers=[]",
    ]
    weights = train_network(load_recipe("smoke", settings), tmp_path / "run")
    assert load_network(weights).info.name == "spectral-unet"
    assert [row["step"] for row in read_state(tmp_path / "run" / STATE)[1].schedule["scores"]] == [4, 8]
    both = [*settings, f"data.photos=[{photos}]"]
    with pytest.raises(UserError, match=r"sources replaces data\.photos"):
        train_network(load_recipe("smoke", both), tmp_path / "other")


def test_the_seed_draws_the_initial_weights(tmp_path: Path, photos: Path) -> None:
    settings = ["loop.steps=1", "loop.learning_rate=1e-9", "loop.trackers=[]", "blur_heads=1"]
    states: list[dict[str, torch.Tensor]] = []
    for number, seed in enumerate((1, 1, 2)):
        torch.manual_seed(number)  # what else the process has drawn does not matter
        run = tmp_path / str(number)
        train_network(recipe(photos, *settings, f"loop.seed={seed}"), run)
        states.append(load_file(run / STATE))
    for part in ("network.", "heads."):
        weights = [key for key, value in states[0].items() if key.startswith(f"weights.{part}") and value.std() > 1e-6]
        assert weights
        assert all(torch.equal(states[0][key], states[1][key]) for key in weights)
        assert not any(torch.allclose(states[0][key], states[2][key]) for key in weights)


def test_the_last_step_is_validated_and_patterns_must_match(tmp_path: Path, photos: Path) -> None:
    for side in ("blur", "sharp"):
        write_image(tmp_path / "set" / side / "a.png", Image(make_photo(80, 90)))
    settings = [f"validation.pairs={tmp_path / 'set'}", "loop.trackers=[]"]
    for every, steps in ((1000, [8]), (5, [5, 8])):
        run = tmp_path / str(every)
        train_network(recipe(photos, *settings, f"validation.every_steps={every}"), run)
        assert [row["step"] for row in read_state(run / STATE)[1].schedule["scores"]] == steps
    with pytest.raises(UserError, match=r"validation\.only=\['b\*'\] match no pair of .*set"):
        train_network(recipe(photos, *settings, "validation.only=[b*]"), tmp_path / "none")


def test_validation_reads_the_kind_of_blur_that_is_trained(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for side in ("blur_gamma", "sharp"):
            write_image(tmp_path / "gopro" / part / "GOPR0001" / side / "a.png", Image(make_photo(80, 90)))
    settings = [f"data.pairs={tmp_path / 'gopro'}", f"validation.pairs={tmp_path / 'gopro'}", "loop.steps=1"]
    settings += ["data.blur_kind=blur_gamma", "loop.trackers=[]"]
    train_network(load_recipe("smoke", settings), tmp_path / "run")
    assert (tmp_path / "run" / "best.safetensors").is_file()
    with pytest.raises(UserError, match=r"has no folder blur, but blur_gamma"):
        train_network(load_recipe("smoke", [*settings, "validation.blur_kind=blur"]), tmp_path / "other")
