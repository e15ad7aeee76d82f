"""Folders of pairs: resumed, refused, complete, and the same whoever makes them."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.data.datasets.crops import PairCrops, prepare_crops
from tfmlc.data.datasets.pairs import find_pairs
from tfmlc.data.datasets.synthetic import SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.making import make_synthetic
from tfmlc.data.synthesis.manifest import MANIFEST, read_manifest
from tfmlc.data.synthesis.planning import plan_synthetic
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.runtime.parallel import worker_pool


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b"):
        write_image(folder / f"{name}.png", Image(make_photo(70, 90)))
    return folder


def synthesize_pairs(
    inputs: list[Path], output: Path, blur: BlurConfig, workers: int | None = None, **settings: Any
) -> tuple[int, int, list[str]]:
    config = SetConfig(kind="pairs", images="photos", blur=blur, **settings)
    summary = synthesize(inputs, output, config, workers=workers)
    return summary.made, summary.kept, summary.errors


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")
    }


@pytest.mark.multiprocess
def test_gopro_layout_and_manifest(tmp_path: Path, photos: Path) -> None:
    made, kept, errors = synthesize_pairs([photos], tmp_path / "set", BlurConfig(), per_photo=2, workers=2)
    assert (made, kept, errors) == (4, 0, [])
    assert [pair.name for pair in find_pairs(tmp_path / "set")] == [
        "a/000001.png", "a/000002.png", "b/000001.png", "b/000002.png"
    ]  # fmt: skip
    settings, rows = read_manifest(tmp_path / "set")
    assert settings["blur"]["light"] == "stored"
    for row in rows:
        low, high = BlurConfig().strength_px
        assert low <= row["strength_px"] <= high
        assert row["seed"][0] == 0
        assert len(row["trajectory"]) % 2 == 1
        path = tmp_path / "set" / "blur" / row["name"]
        assert row["files"][f"blur/{row['name']}"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.multiprocess
def test_workers_do_not_change_the_result(tmp_path: Path, photos: Path) -> None:
    for workers in (1, 2):
        synthesize_pairs([photos], tmp_path / str(workers), BlurConfig(), per_photo=2, seed=5, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_a_rerun_finishes_what_is_missing_or_damaged(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "set"
    synthesize_pairs([photos], out, BlurConfig(), workers=1)
    whole = content(out)
    (out / "blur" / "a" / "000001.png").write_bytes(b"cut")
    with (out / MANIFEST).open("a") as manifest:
        manifest.write('{"name": "b/0000')  # a line cut off by a crash
    assert synthesize_pairs([photos], out, BlurConfig(), workers=1)[:2] == (1, 1)
    assert content(out) == whole
    assert synthesize_pairs([photos], out, BlurConfig(), workers=1)[:2] == (0, 2)


def test_a_row_that_was_cut_off_does_not_swallow_the_next(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "set"
    synthesize_pairs([photos], out, BlurConfig(), workers=1)
    (out / MANIFEST).write_bytes((out / MANIFEST).read_bytes()[:-40])  # in the middle of the last row
    assert synthesize_pairs([photos], out, BlurConfig(), workers=1)[:2] == (1, 1)
    assert synthesize_pairs([photos], out, BlurConfig(), workers=1)[:2] == (0, 2)


def test_other_settings_are_refused(tmp_path: Path, photos: Path) -> None:
    synthesize_pairs([photos], tmp_path / "set", BlurConfig(), workers=1)
    with pytest.raises(UserError, match="other settings"):
        synthesize_pairs([photos], tmp_path / "set", BlurConfig(strength_px=(1, 2)), workers=1)


def test_another_seed_is_refused(tmp_path: Path, photos: Path) -> None:
    synthesize([photos], tmp_path / "out", SetConfig(kind="pairs", images="photos"))
    before = sorted(path.read_bytes() for path in (tmp_path / "out").rglob("*.png"))
    with pytest.raises(UserError, match="was made with seed 0"):
        synthesize([photos], tmp_path / "out", SetConfig(kind="pairs", images="photos", seed=3))
    assert sorted(path.read_bytes() for path in (tmp_path / "out").rglob("*.png")) == before


def test_a_photo_with_the_same_name_is_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "other").mkdir()
    write_image(tmp_path / "other" / "a.png", Image(make_photo(9, 9)))
    with pytest.raises(UserError, match="would both become a"):
        synthesize_pairs([photos, tmp_path / "other"], tmp_path / "s", BlurConfig(), workers=1)


def test_photos_of_one_stem_are_scenes_of_their_own(tmp_path: Path, photos: Path) -> None:
    write_image(photos / "a.bmp", Image(make_photo(80, 70)))
    (photos / "c").mkdir()
    write_image(photos / "c" / "d.png", Image(make_photo(60, 70)))
    write_image(photos / "c-d.png", Image(make_photo(50, 70)))
    assert synthesize_pairs([photos, photos / "a.bmp"], tmp_path / "set", BlurConfig(), workers=1) == (5, 0, [])
    sizes = {pair.name: read_rgb8(pair.sharp).shape[0] for pair in find_pairs(tmp_path / "set")}
    assert sizes == {
        "a-png/000001.png": 70, "a/000001.png": 80, "b/000001.png": 70, "c-d/000001.png": 50, "c-d-png/000001.png": 60
    }  # fmt: skip


def test_whatever_a_photo_raises_becomes_its_line(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class UnforeseenError(Exception):
        pass

    def read(path: Path) -> Any:
        raise UnforeseenError(f"of\n{path.name}")

    monkeypatch.setattr("tfmlc.data.synthesis.making.read_rgb8", read)
    still = plan_synthetic([photos], 1, 0)[0]
    made = make_synthetic(still, output=tmp_path / "set", names=("sharp", "blur"), blur=BlurConfig())
    assert made.error == f"{photos / 'a.png'} cannot be processed: of a.png (UnforeseenError)"


def test_a_sheet_that_cannot_be_written_hides_no_other_error(tmp_path: Path, photos: Path) -> None:
    (photos / "damaged.png").write_bytes(b"nothing")
    (tmp_path / "out" / "sheet.png").mkdir(parents=True)
    summary = synthesize([photos], tmp_path / "out", SetConfig(kind="pairs", images="photos"))
    assert summary.made == 2
    assert ["damaged.png" in summary.errors[0], "sheet.png" in summary.errors[1]] == [True, True]


def test_a_process_that_is_ended_from_outside_is_a_line() -> None:
    with pytest.raises(UserError, match="a worker process was killed"), worker_pool(2) as pool:
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL).result()


def test_pairs_of_one_stem_are_cut_into_crops_of_their_own(tmp_path: Path) -> None:
    for side in ("blur", "sharp"):
        for value, suffix in enumerate(("png", "bmp")):
            image = np.full((64, 128, 3), 100 * value, np.uint8)
            write_image(tmp_path / "set" / side / f"a.{suffix}", Image(image))
    crops = prepare_crops(find_pairs(tmp_path / "set"), tmp_path / "crops", crop_px=64, step_px=64, workers=1)
    assert [int(read_rgb8(crop.sharp).mean()) for crop in crops] == [0, 0, 100, 100]
    assert prepare_crops(find_pairs(tmp_path / "set"), tmp_path / "crops", crop_px=64, step_px=64) == crops


def test_missing_partner_and_size_are_named(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "set"
    synthesize_pairs([photos], out, BlurConfig(), workers=1)
    write_image(out / "sharp" / "a" / "000001.png", Image(make_photo(9, 9)))
    with pytest.raises(UserError, match="differ in size: 90x70 and 9x9"):
        [PairCrops(find_pairs(out), patch_px=8, length=2)[index] for index in range(2)]
    (out / "sharp" / "b" / "000001.png").unlink()
    with pytest.raises(UserError, match=r"b/000001\.png has no partner"):
        find_pairs(out)


def test_items_depend_on_seed_and_index_alone(photos: Path, tmp_path: Path) -> None:
    synthesize_pairs([photos], tmp_path / "set", BlurConfig(), workers=1)
    for make in (
        lambda seed: PairCrops(find_pairs(tmp_path / "set"), patch_px=32, length=9, seed=seed),
        lambda seed: SyntheticPairs(sorted(photos.iterdir()), BlurConfig(), patch_px=32, length=9, seed=seed),
    ):
        one, two, other = make(0), make(0), make(1)
        two[3]
        assert all((a == b).all() for a, b in zip(one[7], two[7], strict=True))
        assert not all((a == b).all() for a, b in zip(one[7], other[7], strict=True))
        assert one[7][0].shape == (3, 32, 32)
        assert len(one) == 9


def test_every_pair_is_seen_once_a_pass(tmp_path: Path) -> None:
    for side in ("blur", "sharp"):
        (tmp_path / side).mkdir()
        for value in range(5):
            write_image(tmp_path / side / f"{value}.png", Image(np.full((20, 20, 3), value * 40, np.uint8)))
    crops = PairCrops(find_pairs(tmp_path), patch_px=16, length=15)
    for turn in range(3):
        values = sorted(round(float(crops[turn * 5 + place][0].mean()) * 255) for place in range(5))
        assert values == [0, 40, 80, 120, 160]


def test_read_back(photos: Path) -> None:
    assert np.array_equal(read_rgb8(photos / "a.png"), make_photo(70, 90))


def test_crops_of_another_dataset_of_the_same_names_are_not_taken(tmp_path: Path) -> None:
    for number, folder in enumerate(("A", "B")):
        for side in ("blur", "sharp"):
            noise = np.random.default_rng(number).integers(0, 200 - 100 * number, (32, 32, 3), dtype=np.uint8)
            write_image(tmp_path / folder / "train" / side / "a.png", Image(noise))
    crops = tmp_path / "crops"
    prepare_crops(find_pairs(tmp_path / "A" / "train"), crops, crop_px=16, step_px=16, workers=1)
    with pytest.raises(UserError, match=r"crops was made with other settings \(bytes\)"):
        prepare_crops(find_pairs(tmp_path / "B" / "train"), crops, crop_px=16, step_px=16, workers=1)
