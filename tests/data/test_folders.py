"""Datasets in their layouts: pairs are found, and what is wrong with them is named."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.data.datasets.crops import PairCrops, prepare_crops, saturated
from tfmlc.data.datasets.pairs import check_pairs, count_remark, find_pairs, layout_of
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.io.images.crops import crop_starts

SHARP = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
BLURRY = np.broadcast_to(SHARP.mean(axis=(0, 1)), SHARP.shape).astype(np.uint8)


def put(path: Path, image: np.ndarray) -> None:
    write_image(path, Image(np.ascontiguousarray(image)))


def gopro(root: Path) -> Path:
    for part, scenes in (("train", ("GOPR0372_07_00", "GOPR0372_07_01")), ("test", ("GOPR0384_11_00",))):
        for scene in scenes:
            for number in (1, 2, 10):
                for kind, image in (("blur", BLURRY), ("blur_gamma", BLURRY), ("sharp", SHARP)):
                    put(root / part / scene / kind / f"{number:06d}.png", image)
    return root


def realblur(root: Path) -> Path:
    for kind in "JR":
        lines = []
        for scene in ("scene001", "scene002"):
            names = [f"RealBlur-{kind}_ECC/{scene}/{side}/{side}_1.png" for side in ("gt", "blur")]
            for name, image in zip(names, (SHARP, BLURRY), strict=True):
                put(root / name, image)
            lines.append(" ".join(names))
        (root / f"RealBlur_{kind}_test_list.txt").write_text("\n".join([*lines, ""]))
    return root


def hide(root: Path) -> Path:
    for number in range(3):
        put(root / "test" / "test-close-ups" / f"{number}fromGOPR.png", BLURRY)
        put(root / "GT" / f"{number}fromGOPR.png", SHARP)
    return root


def test_gopro(tmp_path: Path) -> None:
    root = gopro(tmp_path / "GOPRO_Large")
    assert layout_of(root) == "GoPro"
    assert [pair.name for pair in find_pairs(root)] == [f"GOPR0384_11_00/{n:06d}.png" for n in (1, 2, 10)]
    train = find_pairs(root, split="train", blur="blur_gamma")
    assert len(train) == 6
    assert all(pair.blurry.parent.name == "blur_gamma" for pair in train)
    assert find_pairs(root / "train") == find_pairs(root, split="train")
    assert (
        count_remark(root, "test", find_pairs(root)) == f"{root} contains 3 pairs, but the test part of GoPro has 1111"
    )
    check_pairs(train)
    for scene in (root / "train").iterdir():
        (scene / "blur").rename(scene / "other")
    with pytest.raises(UserError, match=r"has no folder blur, but blur_gamma: choose the blur kind blur_gamma"):
        find_pairs(root, split="train")


def test_train_and_test_with_images_are_no_scenes(tmp_path: Path) -> None:
    for part, name in (("train", "a.png"), ("test", "b.png")):
        for side, image in (("blur", BLURRY), ("sharp", SHARP)):
            put(tmp_path / part / side / name, image)
    assert [pair.name for pair in find_pairs(tmp_path, split="train")] == ["a.png"]
    assert [pair.name for pair in find_pairs(tmp_path)] == ["b.png"]
    assert count_remark(tmp_path, "train", find_pairs(tmp_path, split="train")) is None
    put(tmp_path / "scene" / "sharp" / "c.png", SHARP)
    with pytest.raises(UserError, match=r"has scenes \(scene\) beside train or test"):
        find_pairs(tmp_path)
    rmtree(tmp_path / "scene")
    rmtree(tmp_path / "test")
    with pytest.raises(UserError, match=r"test has no folders blur and sharp: add the test part"):
        find_pairs(tmp_path)


def test_realblur(tmp_path: Path) -> None:
    root = realblur(tmp_path)
    with pytest.raises(UserError, match=r"contains 2 lists of the test part: give one .*RealBlur_J_test_list\.txt or"):
        find_pairs(root)
    pairs = find_pairs(root / "RealBlur_R_test_list.txt")
    assert [pair.name for pair in pairs] == ["scene001/blur_1.png", "scene002/blur_1.png"]
    assert pairs[0].sharp.parent.name == "gt"
    pairs[1].sharp.unlink()
    with pytest.raises(UserError, match=r"has no partner .*gt_1\.png \(RealBlur_R_test_list\.txt, line 2\)"):
        find_pairs(root / "RealBlur_R_test_list.txt")


def test_hide(tmp_path: Path) -> None:
    root = hide(tmp_path / "HIDE_dataset")
    assert [pair.sharp.name for pair in find_pairs(root)] == [f"{number}fromGOPR.png" for number in range(3)]
    (root / "GT" / "1fromGOPR.png").unlink()
    with pytest.raises(UserError, match=r"1fromGOPR\.png has no partner"):
        find_pairs(root)


def test_frames_without_pairs_and_nothing(tmp_path: Path) -> None:
    put(tmp_path / "GOPRO_Large_all" / "train" / "GOPR0372_07_00" / "000001.png", SHARP)
    with pytest.raises(UserError, match="contains frames but no pairs"):
        find_pairs(tmp_path / "GOPRO_Large_all")
    with pytest.raises(UserError, match="there is no folder"):
        find_pairs(tmp_path / "none")


def test_swapped_and_resized_sides(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "blur" / f"{number}.png", SHARP)
        put(tmp_path / "sharp" / f"{number}.png", BLURRY)
    with pytest.raises(UserError, match=r"seem to be swapped: .*3 of 3 examined pairs"):
        check_pairs(find_pairs(tmp_path))
    put(tmp_path / "sharp" / "1.png", SHARP[:30])
    with pytest.raises(UserError, match=r"1\.png and .*1\.png differ in size: 56x40 and 56x30"):
        check_pairs(find_pairs(tmp_path))


def test_real_pairs_are_not_swapped(shared: Path) -> None:
    check_pairs(find_pairs(shared / "data" / "gopro_pair"))


def test_crops_are_cut_once_and_cover_the_picture(tmp_path: Path) -> None:
    photo = make_photo(90, 150)
    for side in ("blur", "sharp"):
        put(tmp_path / "set" / "a" / side / "000001.png", photo)
    pairs = find_pairs(tmp_path / "set")
    crops = prepare_crops(pairs, tmp_path / "crops", crop_px=64, step_px=40, workers=1)
    assert crop_starts(90, 64, 40) == [0, 26]
    assert len(crops) == 2 * 4
    assert np.array_equal(read_rgb8(crops[-1].sharp), photo[26:90, 86:150])
    crops[1].sharp.unlink()
    again = prepare_crops(pairs, tmp_path / "crops", crop_px=64, step_px=40, workers=1)
    assert again == crops
    before = [crop.sharp.stat().st_mtime_ns for crop in crops]
    assert prepare_crops(pairs, tmp_path / "crops", crop_px=64, step_px=40) == crops
    assert [crop.sharp.stat().st_mtime_ns for crop in crops] == before
    with pytest.raises(UserError, match="was made with other settings"):
        prepare_crops(pairs, tmp_path / "crops", crop_px=32, step_px=40, workers=1)
    with pytest.raises(UserError, match=r"150x90, smaller than data\.crop_px=100"):
        prepare_crops(pairs, tmp_path / "other", crop_px=100, step_px=40, workers=1)


def test_saturation_is_changed_alike_on_both_sides(tmp_path: Path) -> None:
    for side in ("blur", "sharp"):
        put(tmp_path / side / "a.png", make_photo(60, 60))
    items = [PairCrops(find_pairs(tmp_path), patch_px=32, length=8, saturation=s)[3] for s in (0.0, 0.5)]
    assert not bool((items[0][0] == items[1][0]).all())
    assert bool((items[1][0] == items[1][1]).all())
    photo = make_photo(8, 8)
    assert np.array_equal(saturated(photo[None], 1.0)[0], photo)
