"""The paper's recipes: their values, their losses, and that every one runs on a dataset's layout."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.losses import Adapter, FeatureMatchingLoss, MadeFor, charbonnier, edge, psnr_loss
from tfmlc.metrics.registry import METRICS
from tfmlc.networks import NETWORKS, build_network, load_network, save_network
from tfmlc.training import sweep
from tfmlc.training.objective import Restoration, balanced_weight
from tfmlc.training.presets import PRESETS, check_effects, load_recipe, scale_to
from tfmlc.training.sweep import sweep_ratios
from tfmlc.training.train import NetworkConfig, start_network, train_network

PAPER = [name for name in PRESETS if "gopro" in name]


@pytest.fixture(scope="module")
def gopro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "GOPRO_Large"
    noise = np.random.default_rng(0).integers(0, 30, (150, 270, 3), dtype=np.uint8)
    sharp = make_photo(150, 270) // 2 + noise
    blurry = np.mean([np.roll(sharp, shift, axis=1) for shift in range(-3, 4)], axis=0).round().astype(np.uint8)
    for part in ("train", "test"):
        for number in (1, 2):
            for kind, image in (("blur", blurry), ("sharp", sharp)):
                write_image(root / part / "GOPR0372_07_00" / kind / f"{number:06d}.png", Image(image))
    return root


def test_hinet_follows_the_paper() -> None:
    config = load_recipe("hinet-gopro-tfmlc")
    loop, data = config.loop, config.data
    assert (loop.optimiser, loop.betas, loop.learning_rate, loop.final_learning_rate) == (
        "adam",
        (0.9, 0.99),
        2e-5,
        1e-7,
    )
    assert (loop.steps, loop.batch_size, loop.gradient_clip, loop.warmup_steps) == (20_000, 4, 0.01, 0)
    assert (data.crop_px, data.crop_step_px, data.patch_px, data.blur_kind) == (512, 256, 256, "blur")
    assert (config.loss.backbone, config.loss.block, config.loss.weight) == ("clip-vit-b16", 3, "paper")


def test_mprnet_follows_the_paper() -> None:
    config = load_recipe("mprnet-lite-gopro-fmlc")
    loop = config.loop
    assert (loop.betas, loop.learning_rate, loop.final_learning_rate) == ((0.9, 0.999), 1e-6, 1e-9)
    assert (loop.steps, loop.warmup_steps, loop.batch_size) == (200 * 2103, 3 * 2103, 1)
    assert (config.data.crop_px, config.data.patch_px, config.data.saturation) == (None, 256, 0.2)


def test_objectives_are_the_papers() -> None:
    torch.manual_seed(0)
    sharp, blurry = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    stages = [torch.rand(2, 3, 32, 32) for _ in range(3)]
    features = FeatureMatchingLoss(build_backbone("dinov2-vit-s14", None), block=1, size="native")
    hinet = Restoration("hinet", features)(lambda _: stages, (blurry, sharp))["loss"]
    assert hinet == pytest.approx(
        float(0.5 * sum(psnr_loss(stage, sharp) for stage in stages) + 1000 * features(stages, sharp)), rel=1e-5
    )
    mprnet = Restoration("mprnet", features)(lambda _: stages, (blurry, sharp))["loss"]
    pixels = sum(charbonnier(stage, sharp) + 0.05 * edge(stage, sharp) for stage in stages)
    assert mprnet == pytest.approx(float(pixels + features(stages, sharp)), rel=1e-5)


@pytest.mark.parametrize("name", PAPER)
def test_every_preset_runs_on_gopros_layout(name: str, gopro: Path, tmp_path: Path) -> None:
    settings = [f"data.pairs={gopro}", "loop.steps=2", "loop.workers=0"]
    if "control" not in name:
        settings += ["loss.backbone=dinov2-vit-s14", "loss.adapter_mode=token"]
    weights = train_network(load_recipe(name, settings, smoke=True), tmp_path / "run")
    assert load_network(weights).info.name == name.split("-", maxsplit=1)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no crops, which the real run would cut anew


def test_a_smoke_run_prepares_nothing_and_has_a_size_for_every_network(tmp_path: Path) -> None:
    data = load_recipe("default-genuine", smoke=True).data
    assert {(source.prepare, source.crop_px) for source in data.sources.values()} == {(None, None)}
    for name in NETWORKS:
        (tmp_path / "a.yaml").write_text(f"network: {{name: {name}}}")
        network = load_recipe(str(tmp_path / "a.yaml"), smoke=True).network
        assert build_network(name, **network.sizes)(torch.zeros(1, 3, 64, 64))[-1].shape == (1, 3, 64, 64)
    (tmp_path / "a.yaml").write_text("network: {name: SwinIR, start: swinir.pth}")
    assert load_recipe(str(tmp_path / "a.yaml"), smoke=True).network.start == "swinir.pth"


def test_the_stages_of_the_default_model_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = start_network(load_recipe("default").network)
    path = tmp_path / "runs" / "default" / "weights.safetensors"  # where tfmlc train default writes
    path.parent.mkdir(parents=True)
    save_network(path, first, origin="test", licence="CC0-1.0")
    second = start_network(load_recipe("default-genuine").network)
    assert torch.equal(second.get_parameter("conv_01.weight"), first.get_parameter("conv_01.weight"))
    assert second.get_parameter("head.conv_1.weight").shape[0] == 16


@pytest.mark.heavy
def test_a_preset_of_a_mixture_names_the_folders_it_lacks_and_runs_with_them(gopro: Path, tmp_path: Path) -> None:
    photos = gopro / "train" / "GOPR0372_07_00" / "sharp"
    settings = [f"data.sources.{name}.photos=[{photos}]" for name in ("short", "long", "sharp")]
    settings += [f"data.sources.gopro.pairs={gopro}"]
    settings += ["data.sources.short.scale=[1, 1]", "data.sources.long.scale=[1, 1]", "data.sources.sharp.scale=[1, 1]"]
    settings += [f"data.sources.{name}.prepared_px=96" for name in ("short", "long", "sharp")]
    with pytest.raises(UserError, match=r"set either data\.sources\.reds\.photos=\[FOLDER\]"):
        train_network(load_recipe("default-genuine", settings, smoke=True), tmp_path / "run")
    settings += [f"data.sources.reds.pairs={gopro}", "loop.steps=2", "loop.workers=0"]
    assert train_network(load_recipe("default-genuine", settings, smoke=True), tmp_path / "run").is_file()


def test_the_adapter_is_asked_for(tmp_path: Path, gopro: Path) -> None:
    settings = ["loss.adapter=adapter.safetensors", f"data.pairs={gopro}"]
    with pytest.raises(UserError, match=r"the file adapter\.safetensors, which does not exist"):
        train_network(load_recipe("hinet-gopro-tfmlc", settings, smoke=True), tmp_path)
    with pytest.raises(UserError, match=r"HINet-GoPro\.pth, which does not exist"):
        train_network(load_recipe("hinet-gopro-control", [f"data.pairs={gopro}"]), tmp_path)
    with pytest.raises(UserError, match=r"tfmlc needs loss\.adapter=FILE"):
        load_recipe("smoke", ["loss.kind=tfmlc"])
    with pytest.raises(UserError, match=r"crop_px=512 is smaller than patch_px=600"):
        load_recipe("hinet-gopro-control", ["data.patch_px=600"])


def test_an_adapter_from_a_file(tmp_path: Path, gopro: Path) -> None:
    path = tmp_path / "adapter.safetensors"
    made_for = MadeFor("dinov2-vit-s14", 1)
    Adapter(mode="token", width=384, hidden=8, made_for=made_for).save(path, origin="test", licence="Apache-2.0")
    settings = [f"data.pairs={gopro}", f"loss.adapter={path}", "loop.steps=2", "loop.workers=0"]
    assert train_network(load_recipe("hinet-gopro-tfmlc", settings, smoke=True), tmp_path / "run").is_file()


def test_balanced_weight_makes_the_gradients_ratio_the_share() -> None:
    network = torch.nn.Conv2d(3, 3, 1)
    torch.manual_seed(0)
    batches = [(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)) for _ in range(3)]
    objective = Restoration("hinet", lambda stages, sharp: (stages[0] - sharp).abs().mean() * 7)
    weight, rows = balanced_weight(objective, lambda_network(network), batches, ratio=0.5)
    assert weight == pytest.approx(sorted(0.5 * row["pixels"] / row["features"] for row in rows)[1])
    assert len(rows) == 3


def test_the_weight_can_be_balanced_if_a_part_of_the_network_takes_no_part() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1))
    network.unused = torch.nn.Linear(2, 2)
    network.forward = network[0].forward
    batches = [(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))]
    objective = Restoration("hinet", lambda stages, sharp: (stages[0] - sharp).abs().mean())
    assert balanced_weight(objective, lambda_network(network), batches, ratio=1)[0] > 0


def test_a_weight_that_is_measured_with_random_offsets_is_seeded(tmp_path: Path, gopro: Path) -> None:
    weights: list[float] = []
    for number in range(2):
        torch.manual_seed(number)
        settings = [f"data.pairs={gopro}", "loss.kind=default", "loss.weight=auto", "loss.auto_steps=1"]
        settings += ["loss.offset=random", "loop.steps=1", "loop.workers=0", "validation.pairs=null"]
        settings += ["network.start=default-psnr"]
        run = tmp_path / str(number)
        train_network(load_recipe("hinet-gopro-control", settings, smoke=True), run)
        weights.append(json.loads((run / "weight.json").read_text())["weight"])
    assert weights[0] == pytest.approx(weights[1], rel=1e-3)  # sums in bf16 can differ in their last digits


def lambda_network(network: torch.nn.Module) -> torch.nn.Module:
    class Stages(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (self.network(blurry),)

    return Stages()


def test_scaling_keeps_the_images_seen() -> None:
    config = load_recipe("mprnet-lite-gopro-control", ["loop.ema_decay=0.99"])
    scaled, lines = scale_to(config, 4)
    assert scaled.loop.steps * scaled.loop.batch_size == config.loop.steps * config.loop.batch_size
    assert scaled.loop.warmup_steps * 4 == pytest.approx(config.loop.warmup_steps, abs=4)
    assert scaled.loop.ema_decay == pytest.approx(0.99**4, abs=1e-6)
    assert any(line.startswith("loop.learning_rate: 1e-06 -> 2e-06") for line in lines)
    assert scale_to(config, 1) == (config, [])


@pytest.mark.weights
@pytest.mark.heavy
def test_validation_and_a_sweep(tmp_path: Path, gopro: Path) -> None:
    from tfmlc.metrics.registry import unavailable

    if reasons := unavailable(["lpips"]):
        pytest.skip(reasons["lpips"])
    settings = [
        f"data.pairs={gopro}",
        f"validation.pairs={gopro}",
        "validation.images=2",
        "loss.backbone=dinov2-vit-s14",
        "loss.block=1",
        "loss.auto_steps=2",
        "loop.steps=4",
        "loop.workers=0",
    ]
    config = load_recipe("hinet-gopro-fmlc", settings, smoke=True)
    said = sweep_ratios(config, tmp_path, "0.5,2")
    assert [line.split(":")[0] for line in said.splitlines()] == ["ratio 0", "ratio 0.5", "ratio 2"]
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert all(np.isfinite([row["psnr"], row["lpips"]]).all() for row in rows)
    run = tmp_path / "ratio-2"
    assert (run / "best.safetensors").is_file()
    assert [path.name for path in sorted((run / "samples").iterdir())] == ["step-000004-1.png", "step-000004-2.png"]
    weights = [
        json.loads((tmp_path / f"ratio-{ratio}" / "weight.json").read_text())["weight"] for ratio in ("0.5", "2")
    ]
    assert weights[1] == pytest.approx(4 * weights[0])
    before = (run / "state.safetensors").stat().st_mtime_ns
    assert sweep_ratios(config, tmp_path, "0.5,2") == said
    assert (tmp_path / "sweep.png").is_file()
    assert (run / "state.safetensors").stat().st_mtime_ns == before  # no step was taken again


@pytest.mark.parametrize("ratios", ["0.3;1", "inf", "nan,1", "-1", "", "1,,3"])
def test_ratios_that_cannot_be_tried_are_refused(tmp_path: Path, gopro: Path, ratios: str) -> None:
    config = load_recipe("hinet-gopro-fmlc", [f"data.pairs={gopro}", f"validation.pairs={gopro}"])
    with pytest.raises(UserError, match=f"--sweep {ratios} must be numbers"):
        sweep_ratios(config, tmp_path / "sweep", ratios)
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_continues_runs_of_other_settings_by_force(
    tmp_path: Path, gopro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[str, bool]] = []

    def train(_: object, run: Path, *, force: bool) -> None:
        runs.append((run.name, force))

    monkeypatch.setattr(sweep, "train_network", train)
    monkeypatch.setattr(sweep, "last_scores", lambda _: {"psnr": 30.0, "lpips": 0.1})
    command = ["train", "hinet-gopro-fmlc", "-o", str(tmp_path), f"data.pairs={gopro}", f"validation.pairs={gopro}"]
    for more, force in (([], False), (["--force"], True)):
        run = CliRunner().invoke(app, [*command, "--sweep", "0, 1", *more])
        assert run.exit_code == 0, run.output
        assert runs == [("ratio-0", force), ("ratio-1", force)]
        runs.clear()


def test_a_measured_weight_is_used_again_with_the_same_settings_alone(tmp_path: Path, gopro: Path) -> None:
    def train(ratio: float) -> float:
        settings = [f"data.pairs={gopro}", "loss.kind=default", "loss.weight=auto", "loss.auto_steps=1"]
        settings += [f"loss.gradient_ratio={ratio}", "loop.steps=2", "loop.workers=0", "validation.pairs=null"]
        train_network(load_recipe("hinet-gopro-control", settings, smoke=True), tmp_path / "run", stop_at=1, force=True)
        return json.loads((tmp_path / "run" / "weight.json").read_text())["weight"]

    first = train(1.0)
    assert train(4.0) == pytest.approx(4 * first)
    path = tmp_path / "run" / "weight.json"
    for entry in ({"weight": 7.0}, {"weight": 7.0, "gradient_ratio": 4.0}):  # as earlier versions wrote it
        path.write_text(json.dumps(entry))
        assert train(4.0) == 7.0


def test_metrics_that_are_missing_are_told_before_the_first_step(
    tmp_path: Path, gopro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks() -> None:
        raise UserError("metric lpips needs the extra metrics")

    monkeypatch.setitem(METRICS, "lpips", replace(METRICS["lpips"], load=lacks))
    settings = [f"data.pairs={gopro}", f"validation.pairs={gopro}", "validation.metrics=[psnr, lpips]"]
    with pytest.raises(UserError, match="metric lpips needs the extra"):
        train_network(load_recipe("hinet-gopro-control", settings, smoke=True), tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(("sizes", "new"), [({"head": 4}, "head.conv_3.weight"), ({"scales": 2}, "coarse_01.weight")])
def test_new_parts_start_as_the_network_they_are_put_on(tmp_path: Path, sizes: dict[str, int], new: str) -> None:
    torch.manual_seed(0)
    plain = build_network("hinet", width=8, depth=2, normalised_levels=None, unshuffle=2)
    save_network(tmp_path / "plain.safetensors", plain, origin="test", licence="CC0-1.0")
    extended = start_network(NetworkConfig(start=str(tmp_path / "plain.safetensors"), sizes=sizes))
    blurry = torch.rand(1, 3, 16, 32)
    assert torch.equal(extended(blurry)[-1], plain(blurry)[-1])
    torch.nn.init.ones_(extended.get_parameter(new))
    assert not torch.equal(extended(blurry)[-1], plain(blurry)[-1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["loss.kind=default", "loss.backbone=vgg16"], "loss.backbone has no effect with loss.kind=default"),
        (["loss.gradient_ratio=3"], "loss.gradient_ratio has no effect with loss.kind=control"),
        (["loss.kind=fmlc", "loss.gradient_ratio=3"], "no effect with loss.weight=paper, only with auto"),
        (["network.start=default-psnr", "network.sizes.width=8"], "network.sizes.width has no effect"),
        (["loss.kind=LPIPS-alex", "loss.weight=paper"], "the paper has no weight for the loss LPIPS-alex"),
        (["loss.kind=default", "loss.weight=-3"], "loss.weight"),
        (["loop.betas=[1.5, 0.9]"], "loop.betas"),
        (["loop.seed=-1"], "loop.seed"),
    ],
)
def test_a_setting_that_is_impossible_or_void_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_effects(load_recipe("smoke", settings), settings)
    assert load_recipe("smoke", ["loss.kind=DISTS"]).loss.weight == "auto"


def test_an_unknown_size_is_refused_with_a_start_too() -> None:
    with pytest.raises(UserError, match="did you mean 'width'"):
        start_network(NetworkConfig(start="default-psnr", sizes={"widht": 8}))


def test_finetuned_weights_keep_what_they_owe(tmp_path: Path, photos: Path) -> None:
    start = tmp_path / "start.safetensors"
    network = build_network("hinet", width=8, depth=2, normalised_levels=None)
    save_network(start, network, origin="trained on photos by A. Person, CC BY 4.0", licence="CC-BY-4.0")
    settings = [f"data.photos=[{photos}]", f"network.start={start}", "loop.steps=1"]
    info = load_network(train_network(load_recipe("smoke", settings), tmp_path / "run")).info
    assert info.origin == (
        "trained by tfmlc, 1 of 1 steps, from start.safetensors (trained on photos by A. Person, CC BY 4.0)"
    )
    assert info.licence == "CC-BY-4.0"
    settings.append("licence=MIT")
    assert load_network(train_network(load_recipe("smoke", settings), tmp_path / "run")).info.licence == "MIT"
