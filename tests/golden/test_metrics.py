"""Our scores against values of scikit-image, SciPy and the official scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from seeded import read_json, seeded_pair8

from tfmlc.io.images import read_rgb8
from tfmlc.metrics.fidelity import psnr, ssim_2d, ssim_3d
from tfmlc.metrics.protocols import score

GOPRO = "GOPR0384_11_00-000001"


def test_seeded_images() -> None:
    wanted = read_json("metric_values.json")["seeded"]
    pair = seeded_pair8(wanted["seed"])
    assert psnr(*pair) == pytest.approx(wanted["psnr"], abs=1e-9)
    assert ssim_2d(*pair) == pytest.approx(wanted["ssim_2d"], abs=1e-9)
    assert ssim_3d(*pair) == pytest.approx(wanted["ssim_3d"], abs=1e-9)


def test_a_pair_of_gopro(shared: Path) -> None:
    wanted = read_json("metric_values.json")[GOPRO]
    blurry, sharp = (
        read_rgb8(next((shared / "data" / "gopro_pair" / side).rglob("*.png"))) for side in ("blur", "sharp")
    )
    assert psnr(blurry, sharp) == pytest.approx(wanted["psnr_rgb_uint8"], abs=1e-6)
    assert ssim_3d(blurry, sharp) == pytest.approx(wanted["ssim_3d_replicate"], abs=1e-5)
    assert ssim_2d(blurry, sharp) == pytest.approx(wanted["ssim_2d_valid_per_channel"], abs=1e-5)
    assert ssim_2d(blurry, sharp) == pytest.approx(wanted["ssim_skimage_gaussian"], abs=1e-5)


def test_realblur_aligns_a_moved_image(shared: Path) -> None:
    wanted = read_json("metric_values.json")[GOPRO]
    moved = read_rgb8(shared / "golden" / f"{GOPRO}_moved.png")
    sharp = read_rgb8(next((shared / "data" / "gopro_pair" / "sharp").rglob("*.png")))
    found = score(moved, sharp, protocol="realblur-ecc")
    assert psnr(moved, sharp) == pytest.approx(wanted["moved_psnr_unaligned"], abs=1e-6)
    assert found["psnr"] == pytest.approx(wanted["moved_psnr_realblur_ecc"], abs=5e-3)
    assert found["ssim"] == pytest.approx(wanted["moved_ssim_realblur_ecc"], abs=1e-4)
    assert found["aligned"] == 1
