"""Adaptation: split by videos, resumed exactly, better at ranking blur than before."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import make_photo
from tfmlc.backbones import build_backbone
from tfmlc.cli import app
from tfmlc.config import checked
from tfmlc.data.datasets.nuisance import Nuisance
from tfmlc.data.datasets.triplet_sources import SyntheticTriplets
from tfmlc.data.datasets.triplets import (
    Augmentation,
    Triplet,
    augmented,
    centred,
    find_triplets,
    read_triplet,
    split_by_video,
)
from tfmlc.data.synthesis import blur as blur_module
from tfmlc.data.synthesis.blur import BlurConfig, blur_levels
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.data.synthesis.videos import VideoBlurConfig
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import write_checkpoint
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.losses import FeatureMatchingLoss
from tfmlc.losses.triplet import ranking_loss, triplet_loss
from tfmlc.training import adapt as adapt_module
from tfmlc.training.adapt import adapt, warning_of
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.ranking import ranking_accuracy


@pytest.fixture(scope="module")
def triplets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for number in range(6):
        image = np.roll(make_photo(80, 100), int(rng.integers(40)), axis=1)
        write_image(folder / "photos" / f"{number}.png", Image(np.ascontiguousarray(image)))
    blur = BlurConfig(strength_px=(6, 14), moving_patches=(0, 0))
    video = VideoBlurConfig(levels=3)
    synthesize(
        [folder / "photos"],
        folder / "out",
        SetConfig(kind="triplets", images="photos", blur=blur, video=video),
        workers=1,
    )
    return folder / "out"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = build_backbone("alexnet", None, seed=1)
    tensors = {f"features.{key}": value for key, value in backbone.tower.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "alexnet.safetensors"
    write_checkpoint(path, tensors, backbone.info)
    return path


def config(weights: Path, **changes: Any) -> AdaptConfig:
    values = {
        "backbone": "alexnet", "block": 1, "weights": str(weights), "mode": "token", "hidden": 8, "views": 2,
        "epochs": 4, "batch_size": 4, "learning_rate": 1e-3, "held_out_fraction": 0.3, "sampled_tokens": 5,
        "augmentation": {"crop_px": 64},
    }  # fmt: skip
    return checked(AdaptConfig, values | changes)


def test_split_keeps_films_apart(triplets: Path) -> None:
    found = find_triplets(triplets)
    for seed in range(5):
        train, held = split_by_video(found, 0.2, seed)
        assert not {t.video for t in train} & {t.video for t in held}
        assert len(train) + len(held) == len(found)
        assert held
    with pytest.raises(UserError, match="all triplets are of"):
        split_by_video(found[:1], 0.2)


def test_shared_members_differ_by_blur_alone(triplets: Path) -> None:
    triplet = find_triplets(triplets)[0]
    mild = Augmentation(crop_px=64)
    images = read_triplet(triplet, 64)
    shared = augmented(images, mild, "shared", np.random.default_rng(3))
    alone = augmented(images, mild, "independent", np.random.default_rng(3))
    assert shared.shape == alone.shape == (4, 3, 64, 64)

    def apart(members: torch.Tensor) -> float:
        return float((members[1] - members[0]).abs().mean())

    assert apart(shared) < 0.5 * apart(alone)
    assert centred(triplet, 80).shape == (4, 3, 80, 80)
    for cropped in (lambda: centred(triplet, 81), lambda: read_triplet(triplet, 224)):
        with pytest.raises(UserError, match=r"000001\.png is 100x80, smaller than a crop of"):  # not enlarged
            cropped()


def test_nuisance_disturbs_each_image_and_most_the_weakly_blurred(triplets: Path) -> None:
    images = [read_triplet(find_triplets(triplets)[0], 64)[0]] * 3  # without blur, all differences are nuisance
    plain = Augmentation(crop_px=64, brightness=0, hue=0, flip=0, nuisance=Nuisance(hard_fraction=1))
    sharp, weak, strong = augmented(images, plain, "nuisance", np.random.default_rng(0))
    assert torch.equal(sharp, strong)
    assert 0.01 < float((weak - sharp).abs().mean()) < 0.15
    usual = plain.model_copy(update={"nuisance": Nuisance(hard_fraction=0)})
    one, two, three = augmented(images, usual, "nuisance", np.random.default_rng(0))
    assert len({float(image.mean()) for image in (one, two, three)}) == 3
    off = Nuisance(shift_px=0, noise=0, jpeg_quality=100, exposure=0, colour=0)
    same = augmented(images, plain.model_copy(update={"nuisance": off}), "nuisance", np.random.default_rng(0))
    assert float((same[1] - same[0]).abs().mean()) < 0.02  # JPEG of quality 100


def test_triplets_of_photos_are_new_whenever_they_are_drawn(photos: Path) -> None:
    files, small = sorted(photos.iterdir()), Augmentation(crop_px=64)
    still = BlurConfig(strength_px=(8, 8), shot_noise=(0, 0), read_noise=(0, 0))
    source = SyntheticTriplets(files, 5, small, blur=still, levels=3)
    assert len(source.names) == 5
    views = [source.view(4, "shared", np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert views[0].shape == (4, 3, 64, 64)
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert torch.equal(source.plain(4), source.plain(4))
    detail = [float(image.diff(dim=-1).abs().mean()) for image in source.plain(4)]
    assert detail == sorted(detail, reverse=True)  # each level is blurred more
    with pytest.raises(UserError, match=r"all 1 photos are smaller than augmentation\.crop_px"):
        SyntheticTriplets(files[:1], 5, Augmentation(crop_px=300), blur=BlurConfig(), levels=2)


def test_independent_images_are_blurred_only_as_far_as_they_are_needed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean: dict[str, Any] = {"strength_px": (9, 9), "moving_patches": (0, 0), "shot_noise": (0, 0)}
    blur = BlurConfig(**clean, read_noise=(0, 0))
    photo = read_rgb8(photos / "0.png")
    levels, sharp, record = blur_levels(photo, blur, np.random.default_rng(0), levels=3)
    for only, wanted in enumerate((sharp, *levels)):
        some, same, _ = blur_levels(photo, blur, np.random.default_rng(0), levels=3, only=only)
        assert np.array_equal([same, *some][-1], wanted)
        assert len(some) == (only > 0)
    warped: list[int] = []
    real = blur_module._warp
    monkeypatch.setattr(blur_module, "_warp", lambda *given, **more: (warped.append(1), real(*given, **more))[1])
    source = SyntheticTriplets(sorted(photos.iterdir()), 2, Augmentation(crop_px=64), blur=blur, levels=2)
    assert source.view(0, "independent", np.random.default_rng(0)).shape == (3, 3, 64, 64)
    assert len(warped) < 2 * len(record.trajectory.poses)  # not three times all
    assert source.motion_px(0) == 9


def test_independent_images_of_a_triplet_have_the_same_motion(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, int]] = []
    real = blur_module._draw_motion

    def seen(config: BlurConfig, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, float]:
        trajectory, strength = real(config, rng, size)
        drawn.append((strength, len(trajectory.poses)))
        return trajectory, strength

    monkeypatch.setattr(blur_module, "_draw_motion", seen)
    source = SyntheticTriplets(
        sorted(photos.iterdir()), 2, Augmentation(crop_px=48), blur=BlurConfig(strength_px=(3, 24)), levels=3
    )
    source.view(0, "independent", np.random.default_rng(0))
    source.view(0, "independent", np.random.default_rng(1))
    assert len(drawn) == 8
    assert len(set(drawn[:4])) == len(set(drawn[4:])) == 1
    assert drawn[0] != drawn[4]


def test_photos_beside_a_set_get_its_number_of_levels(
    triplets: Path, photos: Path, weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"has 3 levels of blur, photos get 2: set levels=3"):
        adapt(triplets, tmp_path / "a.safetensors", config(weights, photos=[str(photos)]))


@pytest.mark.heavy
def test_an_adapter_of_photos_is_diagnosed_on_those_held_out(photos: Path, weights: Path, tmp_path: Path) -> None:
    settings = ["mode=token", "hidden=8", "views=0", "epochs=1", "count=4", "batch_size=2", "augmentation.crop_px=64"]
    where = ["adapt", str(photos), "-o", str(tmp_path / "a.safetensors"), f"weights={weights}"]
    run = CliRunner().invoke(app, [*where, *settings, "--backbone", "alexnet", "--block", "1", "--report"])
    assert run.exit_code == 0, run.output
    rows = json.loads((tmp_path / "a.report.json").read_text())["rows"]
    assert {"MSE", "FMLC alexnet 1", "TFMLC alexnet 1"} <= {row["distance"] for row in rows}
    assert "| TFMLC alexnet 1 " in run.output


@pytest.mark.parametrize("alignment", ["shared", "independent", "nuisance"])
def test_an_adapter_learns_from_a_set_and_from_photos(
    triplets: Path, photos: Path, weights: Path, tmp_path: Path, alignment: str
) -> None:
    settings = config(weights, alignment=alignment, views=0, epochs=1, count=6, levels=3, photos=[str(photos)])
    report = adapt(triplets, tmp_path / "both.safetensors", settings)
    assert report["triplets"]["training"] > 6
    assert set(report["accuracy"]) == {"shared", "independent", "nuisance"}
    alone = adapt(photos, tmp_path / "photos.safetensors", config(weights, views=0, epochs=1, count=6))
    assert alone["triplets"]["training"] == 6
    assert set(alone["held_out"]) <= {photo.name for photo in photos.iterdir()}


@pytest.mark.parametrize(
    ("counts", "fraction", "wanted"),
    [
        ({"a": 90, "b": 50, "c": 20, "d": 9}, 0.1, 20),  # of 169; 9 is farther from 16.9 than 20
        ({"a": 900, "b": 60, "c": 30, "d": 10}, 0.1, 100),  # all but the long one
        ({"a": 5, "b": 5}, 0.1, 5),
        ({"a": 1, "b": 99}, 0.1, 1),
        ({str(number): 1 for number in range(40)}, 0.1, 4),
    ],
)
def test_the_videos_nearest_to_the_fraction_are_held_out(counts: dict[str, int], fraction: float, wanted: int) -> None:
    rows = [Triplet((), clip, 1.0) for clip, count in counts.items() for _ in range(count)]
    chosen = set()
    for seed in range(4):
        train, held = split_by_video(rows, fraction, seed)
        assert len(held) == wanted
        assert not {row.video for row in train} & {row.video for row in held}
        chosen.add(frozenset(row.video for row in held))
    assert len(chosen) > 1 or len(counts) < 40  # which of many depends on the seed


def test_a_finished_adapter_is_not_computed_again_and_not_taken_for_another(
    triplets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.safetensors"
    report = adapt(triplets, output, config(weights))
    said = capsys.readouterr().err
    assert f"validation: {len(report['held_out'])} of 6 triplets" in said
    assert all(clip in said for clip in report["held_out"])
    with monkeypatch.context() as patch:

        def not_again(*_: object, **__: object) -> None:
            raise AssertionError("done before")

        patch.setattr(adapt_module, "features_of", not_again)
        patch.setattr(adapt_module, "Loop", not_again)
        patch.setattr(adapt_module, "load_data", not_again)
        assert adapt(triplets, output, config(weights)) == report
    with pytest.raises(UserError, match=r"a\.safetensors was made with other settings \(adapt\.hidden 8 -> 16\)"):
        adapt(triplets, output, config(weights, hidden=16))
    (tmp_path / "a.json").unlink()  # so its report is not known
    assert adapt(triplets, output, config(weights))["accuracy"] == report["accuracy"]


def test_the_report_of_an_adapter_is_its_last_file(
    triplets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed before the figure is made is not called finished."""
    output = tmp_path / "a.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(adapt_module, "draw_adaptation", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            adapt(triplets, output, config(weights))
    adapt(triplets, output, config(weights))
    assert (tmp_path / "a.png").exists()
    assert not (tmp_path / "a.run" / "features.npy").exists()


def test_features_that_do_not_fit_the_disk_are_refused_at_once(
    triplets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of a file that has no place would end the process without a word."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"features\.npy: No space left on device; views=0 needs no such file"):
        adapt(triplets, tmp_path / "a.safetensors", config(weights))
    assert not (tmp_path / "a.run" / "features.npy").exists()


def test_triplets_smaller_than_a_crop_are_counted_or_refused(
    triplets: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"all 6 triplets are smaller than augmentation\.crop_px=96"):
        adapt(triplets, tmp_path / "a.safetensors", config(weights, augmentation={"crop_px": 96}))
    folder = shutil.copytree(triplets, tmp_path / "set")
    for kind in folder.iterdir():
        for path in [*kind.glob("0/*.png"), *kind.glob("1/*.png")]:
            write_image(path, Image(read_rgb8(path)[:50]))
    report = adapt(folder, tmp_path / "b.safetensors", config(weights))
    assert report["triplets"] | {"validation_fraction": 0} == {
        "training": 3, "validation": 1, "validation_fraction": 0, "too_small": 2,
    }  # fmt: skip
    assert "2 of 6 triplets are smaller than augmentation.crop_px=64 and are left out (0, 1" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "views", "alignment"), [("token", 2, "shared"), ("flatten", 0, "independent")])
def test_end_to_end_and_resumed(
    triplets: Path, weights: Path, tmp_path: Path, mode: str, views: int, alignment: str
) -> None:
    settings = config(weights, mode=mode, views=views, alignment=alignment)
    report = adapt(triplets, tmp_path / "a.safetensors", settings)
    assert report["epochs"] == 4
    assert report == json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "a.png").stat().st_size > 1000
    loss = FeatureMatchingLoss.load(tmp_path / "a.safetensors", weights=weights)
    image = torch.rand(1, 3, 64, 64)
    assert float(loss(image, image)) == 0
    assert loss.block == 1
    assert loss.size == ("native" if mode == "token" else 64)

    with pytest.MonkeyPatch.context() as patch:  # stopped in the middle, then taken up
        from tfmlc.training import loop as engine

        real = engine.Loop.run
        patch.setattr(engine.Loop, "run", lambda self: (real(self, stop_at=2), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            adapt(triplets, tmp_path / "b.safetensors", settings)
    again = adapt(triplets, tmp_path / "b.safetensors", settings)
    assert again["history"] == report["history"]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_learning_rate_falls_and_gives_up(triplets: Path, weights: Path, tmp_path: Path) -> None:
    settings = config(weights, epochs=300, patience=1, give_up=5, learning_rate=1e-7)
    report = adapt(triplets, tmp_path / "a.safetensors", settings)
    assert report["epochs"] < 300
    assert report["history"][-1]["rate"] < report["history"][0]["rate"]


def test_ranking_loss_is_the_triplet_loss_for_two_levels() -> None:
    anchor, weak, strong = (torch.randn(6, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    direct = torch.nn.functional.triplet_margin_loss(anchor, weak, strong, margin=1.0, eps=0)
    assert float(triplet_loss(anchor, weak, strong)) == pytest.approx(float(direct), rel=1e-5)
    ordered = [torch.full((3,), value) for value in (0.0, 2.0, 4.0, 6.0)]
    assert float(ranking_loss(ordered)) == 0
    assert float(ranking_loss(ordered[::-1])) > 0
    assert ranking_accuracy(torch.stack(ordered, dim=1)) == 1
    assert ranking_accuracy(torch.stack(ordered[::-1], dim=1)) == 0


def test_a_run_of_other_settings_is_refused(triplets: Path, weights: Path, tmp_path: Path) -> None:
    adapt(triplets, tmp_path / "a.safetensors", config(weights, epochs=1))
    for changes in ({"margin": 2.0}, {"hidden": 16}, {"alignment": "independent"}):
        with pytest.raises(UserError, match=r"other settings|another network"):
            adapt(triplets, tmp_path / "a.safetensors", config(weights, epochs=1, **changes))
    with pytest.raises(UserError, match=r"must end in \.safetensors"):
        adapt(triplets, tmp_path / "a.pth", config(weights))


def test_other_folders_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.jsonl"):
        adapt(tmp_path, tmp_path / "a.safetensors", config(weights))
    write_image(tmp_path / "photos" / "a.png", Image(make_photo(40, 40)))
    synthesize([tmp_path / "photos"], tmp_path / "pairs", SetConfig(kind="pairs", images="photos"), workers=1)
    with pytest.raises(UserError, match="contains pairs, not triplets"):
        adapt(tmp_path / "pairs", tmp_path / "a.safetensors", config(weights))


def test_an_adapter_that_learned_nothing_is_told() -> None:
    def said(before: float, after: float) -> str | None:
        accuracy = {"shared": {"before": 1.0, "after": 1.0}, "independent": {"before": before, "after": after}}
        return warning_of({"config": {"alignment": "independent"}, "accuracy": accuracy})

    assert said(0.5, 0.9) is None
    assert said(0.95, 0.94) is None
    assert "did not learn to rank the validation triplets with independent crops: accuracy 0.50 before, 0.47" in said(
        0.5, 0.47
    )
    assert "0.95 before, 0.70 after" in (said(0.95, 0.7) or "")
