"""The benchmarks compare like with like; how fast anything is they only report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.bench import deblur, growth, scaling, step, synthesize
from tfmlc.bench.evaluate import PYIQA_NAMES, bench_scores
from tfmlc.bench.released_loss import ReleasedLoss
from tfmlc.cli import app
from tfmlc.deblur import Deblurrer
from tfmlc.errors import UserError
from tfmlc.evaluation.official import official_inference
from tfmlc.io.images import Image, write_image
from tfmlc.io.images.tensors import to_tensor
from tfmlc.losses import Adapter, FeatureMatchingLoss
from tfmlc.metrics.registry import unavailable
from tfmlc.networks import build_network
from tfmlc.runtime.device import fast_precision


@pytest.fixture(scope="module")
def clip() -> Any:
    return build_backbone("clip-vit-b16", None)


@pytest.mark.heavy
@pytest.mark.parametrize("adapted", [False, True], ids=["FMLC", "TFMLC"])
def test_the_released_procedure_gives_the_same_loss_and_gradient(adapted: bool, clip: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    sharp, restored = torch.rand(2, 2, 3, 64, 48, generator=generator)
    images = [restored.requires_grad_()]
    torch.manual_seed(0)
    values: list[tuple[float, torch.Tensor]] = []
    adapter = Adapter(mode="flatten", tokens=197, width=768, hidden=16).eval() if adapted else None
    with torch.device("meta"):  # random weights would take time
        losses = [ReleasedLoss(3, adapter, looped=looped) for looped in (True, False)]
    for loss in losses:
        loss.trunk.load_state_dict(clip.tower.state_dict(), assign=True)
    for loss in (*losses, FeatureMatchingLoss(clip, block=3, adapter=adapter, normalize=False)):
        value = loss(images, sharp)
        values.append((float(value.detach()), torch.autograd.grad(value, images[0])[0]))
    for value, gradient in values[1:]:
        assert value == pytest.approx(values[0][0], rel=1e-4)
        assert float((gradient - values[0][1]).abs().max()) < 1e-3 * float(gradient.abs().max())


@pytest.mark.weights
@pytest.mark.heavy
def test_both_programs_give_the_same_scores(tmp_path: Path) -> None:
    if reasons := unavailable(list(PYIQA_NAMES)):
        pytest.skip(next(iter(reasons.values())))
    sharp = make_photo(224, 256)
    for name, image in (("a", sharp // 2), ("b", sharp[::-1] // 2 + 60)):
        write_image(tmp_path / "sharp" / f"{name}.png", Image(image.copy()))
        write_image(tmp_path / "blur" / f"{name}.png", Image(image // 3 * 2))
    costs = bench_scores(tmp_path)
    assert [row["models"] for row in costs["rows"]] == [1, 2]
    assert costs["images"] == 2
    assert {name: value for name, value in costs["largest_difference"].items() if value > 1e-4} == {}


def bench(*arguments: object) -> tuple[dict[str, Any], list[str]]:
    """What ``tfmlc bench`` wrote, and its lines."""
    run = CliRunner().invoke(app, ["bench", *map(str, arguments), "-o", "costs.json"])
    assert run.exit_code == 0, run.output
    return json.loads(Path("costs.json").read_text()), run.stdout.splitlines()


def test_an_output_that_cannot_be_written_ends_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    refused = {
        ".": "is a folder: name a JSON file",
        "file/costs.json": "cannot create the folder",
        "costs.png": "the name must end in .json",
    }
    for output, why in refused.items():
        run = CliRunner().invoke(app, ["bench", "deblur", "-o", output])
        assert run.exit_code == 2
        assert why in run.stderr, run.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_deblurring_is_measured_against_the_official_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = partial(deblur.bench_deblur, repeats=1, frame_px=(48, 64), large_px=(96, 64))
    monkeypatch.setattr(deblur, "bench_deblur", small)
    costs, lines = bench("deblur", "-m", "default", "-m", "nafnet")
    ways = [row["way"] for row in costs["rows"] if row["model"] == "nafnet"]
    assert ways == ["official", *dict.fromkeys(["fp32", fast_precision(torch.device("cpu"))])]
    assert [row["times_faster"] for row in costs["rows"] if row["way"] == "official"] == [1, 1, 1]
    images = {(row["model"], row["image"]) for row in costs["rows"]}
    assert images == {("default", "64x48"), ("default", "64x96"), ("nafnet", "64x48")}
    assert [line.split()[0] for line in lines] == [row["model"] for row in costs["rows"]]


def test_a_measurement_that_ends_early_leaves_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(models: object) -> Iterator[dict[str, object]]:
        yield {"model": "default"}
        raise UserError("no memory is left")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deblur, "bench_deblur", fails)
    run = CliRunner().invoke(app, ["bench", "deblur", "-o", "costs.json"])
    assert (run.exit_code, run.stderr) == (2, "tfmlc: no memory is left\n")
    assert json.loads(Path("costs.json").read_text())["rows"] == [{"model": "default"}]


@pytest.mark.parametrize("name", ["hinet", "nafnet"])
def test_the_official_way_gives_the_same_image_as_one_tile(name: str) -> None:
    network = build_network(name, width=8).eval()
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    official = official_inference(network, to_tensor(image)[None]).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    restored = Deblurrer(network, device="cpu", precision="fp32", tile_px=0).restore_tiles(image, None)
    assert np.abs(official * 255 - restored).max() < 0.51


def test_official_crops_cover_the_image_and_overlap_evenly() -> None:
    ones = build_network("hinet", width=8).eval()
    for parameter in ones.parameters():
        torch.nn.init.zeros_(parameter)  # so that the network returns its input
    blurry = torch.rand(1, 3, 300, 520, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(official_inference(ones, blurry), blurry, atol=1e-6)


def test_a_training_step_is_measured_under_each_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step, "MEASURED", {"hinet, width 4": ("hinet", {"width": 4, "depth": 2})})
    features = {"kind": "fmlc", "backbone": "alexnet", "block": 1, "weights": "random"}
    monkeypatch.setattr(step, "LOSSES", {"control": {"kind": "control"}, "FMLC": features})
    costs, lines = bench("step", "--repeats", 1)
    assert [row["loss"] for row in costs["rows"]] == ["control", "FMLC"]
    assert costs["rows"][0]["relative"] == 1
    assert len(lines) == 2


@pytest.mark.heavy
def test_the_operations_and_the_memory_of_a_step_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(step, "MEASURED", {"hinet, width 8": ("hinet", {"width": 8, "depth": 2})})
    features = {"kind": "fmlc", "backbone": "alexnet", "block": 1, "weights": "random"}
    monkeypatch.setattr(step, "LOSSES", {"control": {"kind": "control"}, "FMLC": features})
    monkeypatch.setattr(step, "TABLE_LOSSES", {})
    costs, lines = bench("step", "--count")
    plain, more = costs["rows"]
    assert len(lines) == 2
    assert (more["kind"], more["backbone"], more["block"]) == ("fmlc", "alexnet", 1)
    assert all(more[key] > plain[key] for key in ("tflop", "image_mib", "fixed_mib"))
    network = step.build_network("hinet", width=8, depth=2)
    assert plain["fixed_mib"] == round(16 * sum(weight.numel() for weight in network.parameters()) / 2**20)
    pairs = [(torch.rand(count, 3, 128, 128), torch.rand(count, 3, 128, 128)) for count in (1, 2)]
    one, two = (step.count_step(step.Restoration("hinet"), network, pair) for pair in pairs)
    assert one["tflop"] == pytest.approx(two["tflop"]) == pytest.approx(plain["tflop"] / 4, rel=0.05)
    assert one["image_mib"] == pytest.approx(plain["image_mib"] / 4, rel=0.05)  # it grows with the area


@pytest.mark.multiprocess
def test_making_triplets_is_measured_beside_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(synthesize, "WINDOWS", (3,))
    monkeypatch.setattr(synthesize.os, "cpu_count", lambda: 1)
    wall = np.kron(np.random.default_rng(0).integers(0, 256, (16, 60, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    for number in range(20):
        write_image(tmp_path / "pan" / f"{number}.png", Image(wall[:, 4 * number : 4 * number + 160].copy()))
    costs, lines = bench("synthesize", tmp_path / "pan")
    assert [(row["source"], row["processes"]) for row in costs["rows"]] == [("video", 1), ("PNG folder", 1)]
    assert costs["rows"][0]["frames"] == 20
    assert costs["rows"][0]["triplets"] > 0
    assert all(row["of_tracking"] > 0 for row in costs["rows"])
    assert lines[-1].startswith("extra memory: ")


def test_training_on_many_gpus_is_simulated_from_a_measured_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"small": ("hinet", {"width": 8, "depth": 3, "normalised_levels": [1, 2]})}
    monkeypatch.setattr(scaling, "MEASURED", small)
    run = CliRunner().invoke(app, ["bench", "scaling", "-o", str(tmp_path / "scaling.json")])
    assert run.exit_code == 0, run.output
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert len(rows) == 2 * 2 * 2 * len(scaling.GPUS)
    assert all(row["efficiency"] == 1 for row in rows if row["gpus"] == 1)
    assert all(0 < row["efficiency"] <= 1 for row in rows)
    by_scheme = {row["scheme"]: row["efficiency"] for row in rows if row["gpus"] == 64 and row["precision"] == "bf16"}
    assert by_scheme["FSDP2"] < by_scheme["DDP"] < 1  # nothing overlaps


def test_simulated_gradients_wait_for_the_link_and_for_each_other() -> None:
    links = scaling.Links(node_gpus=2, inside_gb_s=1, between_gb_s=0.5, latency_us=0)
    gradients = ((0.5, 10**8), (1.0, 10**8))  # 0.4 GB each
    step_of = scaling.Timeline(1.0, 2.0, gradients)
    assert scaling.simulate(step_of, 2, links) == pytest.approx(1 + 2 + 0.4)  # the first one is sent in time
    assert scaling.simulate(step_of, 4, links) == pytest.approx(1 + 1 + 2 * 1.2)  # the second one waits for the first
    assert scaling.simulate(step_of, 4, links, "FSDP2") == pytest.approx(3 + 2 * 0.75 * 0.8 / 0.5)


@pytest.mark.multiprocess
def test_time_and_memory_are_measured_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {what: (write, (sizes[0],)) for what, (write, sizes) in growth.CASES.items()}
    monkeypatch.setattr(growth, "CASES", some)
    monkeypatch.setattr(growth, "WORKERS", (1,))
    run = CliRunner().invoke(app, ["bench", "growth", "-o", str(tmp_path / "growth.json")])
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "growth.json").read_text())
    assert [row["number"] for row in found["rows"]] == [0.25, 1, 1, 1]
    assert all(row["seconds"] > 0 and row["peak_mib"] > 50 for row in found["rows"])
    assert ["processor_s" in row for row in found["rows"]] == [True, True, True, False]
    assert (tmp_path / "growth.png").stat().st_size > 1000


@pytest.mark.multiprocess
def test_the_start_of_the_program_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    costs, lines = bench("start", "--repeats", 1)
    seconds = {row["what"]: row["seconds"] for row in costs["rows"]}
    assert list(seconds) == ["python", "import tfmlc", "import torch", "tfmlc --help", "tfmlc deblur PHOTO"]
    assert seconds["import tfmlc"] < seconds["import torch"] < seconds["tfmlc deblur PHOTO"]
    assert len(lines) == 5
