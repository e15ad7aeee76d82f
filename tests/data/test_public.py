"""Copies of the paper's datasets: what is complete is said, and what is missing is named with a way to mend it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tfmlc.cli import app
from tfmlc.data.datasets import public
from tfmlc.data.datasets.pairs import LAYOUTS
from tfmlc.data.datasets.public import GOPRO_SCENES, PUBLIC_SETS, check_public
from tfmlc.errors import UserError

SHARP = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
BLURRY = np.full_like(SHARP, 128)


def put(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@pytest.fixture
def gopro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy with one pair in each scene, which is taken for the whole."""
    monkeypatch.setitem(LAYOUTS, "GoPro", replace(LAYOUTS["GoPro"], counts={"train": 22, "test": 11}))
    for split, scenes in GOPRO_SCENES.items():
        for scene in scenes:
            for kind, image in (("blur", BLURRY), ("blur_gamma", BLURRY), ("sharp", SHARP)):
                put(tmp_path / "GOPRO_Large" / split / scene / kind / "000001.png", image)
    return tmp_path / "GOPRO_Large"


@pytest.fixture
def realblur(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(LAYOUTS, "RealBlur", replace(LAYOUTS["RealBlur"], counts={"train": 2, "test": 1}))
    root = tmp_path / "RealBlur"
    for kind, folder in (("J", "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"), ("R", "RealBlur-R_BM3D_ECC")):
        for split, scenes in (("train", (1, 2)), ("test", (3,))):
            lines: list[str] = []
            for scene in scenes:
                names = [f"{folder}/scene{scene:03d}/{side}/{side}_1.png" for side in ("gt", "blur")]
                put(root / names[0], SHARP)
                put(root / names[1], BLURRY)
                lines.append(" ".join(names))
            (root / f"RealBlur_{kind}_{split}_list.txt").write_text("\n".join([*lines, ""]))
    return root


def run(*arguments: object) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    return result.exit_code, result.output.splitlines()


def test_the_numbers_are_the_publishers() -> None:
    assert [len(GOPRO_SCENES[split]) for split in ("train", "test")] == [22, 11]
    assert not set(GOPRO_SCENES["train"]) & set(GOPRO_SCENES["test"])
    assert LAYOUTS["GoPro"].counts == {"train": 2103, "test": 1111}
    assert LAYOUTS["RealBlur"].counts == {"train": 3758, "test": 980}


def test_addresses_and_layouts_are_shown() -> None:
    status, lines = run()
    assert status == 0
    assert sum(line == "layout:" for line in lines) == len(PUBLIC_SETS)
    status, lines = run("gopro")
    assert "page: https://seungjunnah.github.io/Datasets/gopro" in lines
    assert "2103 pairs" in "".join(lines)
    assert run("gopro-video") == (
        2,
        ["tfmlc: unknown dataset 'gopro-video': did you mean 'gopro-videos'? (known: gopro, gopro-videos, realblur)"],
    )


def test_gopro_complete_and_not(gopro: Path) -> None:
    assert run("gopro", gopro) == (0, ["train pairs: 22, complete", "test pairs: 11, complete"])
    put(gopro / "test" / "GOPR0384_11_00" / "blur" / "more.png", BLURRY)
    put(gopro / "test" / "GOPR0384_11_00" / "sharp" / "more.png", SHARP)
    (gopro / "train" / "GOPR0857_11_00").rename(gopro.parent / "away")
    status, lines = run("gopro", gopro)
    assert status == 1
    assert lines == [
        f"tfmlc: train pairs: 21 of 22; {gopro / 'train'} lacks GOPR0857_11_00; unpack GOPRO_Large.zip again",
        "tfmlc: test pairs: 12, more than the 11 of GOPRO_Large.zip: move the others away",
    ]
    (gopro / "train" / "GOPR0868_11_01" / "sharp" / "000001.png").unlink()
    _, missing = check_public("gopro", gopro)
    assert missing[0].startswith(f"train pairs: no images in {gopro}/train/GOPR0868_11_01/sharp")
    assert missing[0].endswith("unpack the download again")


def test_another_folder_is_told(gopro: Path) -> None:
    there, missing = check_public("gopro", gopro / "train")
    assert not there
    assert missing[0] == f"train pairs: {gopro}/train has no folder train: give the folder that has train and test"
    with pytest.raises(UserError, match=r"there is no .*none: get GOPRO_Large\.zip from https://seungjunnah"):
        check_public("gopro", gopro / "none")


def test_videos(tmp_path: Path) -> None:
    for scene in GOPRO_SCENES["train"]:
        (folder := tmp_path / "train" / scene).mkdir(parents=True)
        for number in range(15):
            (folder / f"{number:06d}.png").touch()
    assert check_public("gopro-videos", tmp_path) == (["train videos: 22, complete"], [])
    (tmp_path / "train" / "GOPR0884_11_00" / "000003.png").unlink()
    assert check_public("gopro-videos", tmp_path)[1] == [
        f"train videos: 21 of 22; {tmp_path}/train lacks the frames of GOPR0884_11_00; unpack GOPRO_Large_all.zip again"
    ]


def test_realblur_complete_and_not(realblur: Path) -> None:
    there, missing = check_public("realblur", realblur)
    assert (len(there), missing) == (4, [])
    (realblur / "RealBlur_R_test_list.txt").unlink()
    lines = (realblur / "RealBlur_J_train_list.txt").read_text().splitlines()
    (realblur / "RealBlur_J_train_list.txt").write_text(lines[0])
    _, missing = check_public("realblur", realblur)
    assert missing == [
        f"RealBlur-J train pairs: 1 of 2; {realblur}/RealBlur_J_train_list.txt lists fewer pairs; "
        "unpack RealBlur.tar.gz again",
        f"RealBlur-R test pairs: {realblur}/RealBlur_R_test_list.txt is missing: it lies beside the folders of images "
        "in the download",
    ]
    put(realblur / lines[0].split()[1], BLURRY[:8])
    assert "differ in size" in check_public("realblur", realblur)[1][0]


def test_the_download_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "GOPRO_Large.zip").write_bytes(b"an archive")
    _, missing = check_public("gopro", file)
    assert missing[0].endswith("not 24532c036712515cf33803704421311c91f6a080e76049d7e5e7fd22389f128e: "
                               "download GOPRO_Large.zip again")  # fmt: skip
    known = replace(PUBLIC_SETS["gopro"], sha256=hashlib.sha256(b"an archive").hexdigest())
    monkeypatch.setitem(public.PUBLIC_SETS, "gopro", known)
    assert check_public("gopro", file) == ([f"{file}: the sha256 is right; unpack it"], [])
    assert "no sha256 of GOPRO_Large_all.zip is known" in check_public("gopro-videos", file)[1][0]
