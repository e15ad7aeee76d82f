"""A photo of 48 megapixels goes through in less than 4 GB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import make_photo, run_and_measure
from tfmlc.images import Picture, read_image, write_image


@pytest.mark.slow
def test_48_megapixels_in_4_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = make_photo(600, 800)
    write_image(tmp_path / "in.jpg", Picture(np.tile(small, (10, 10, 1))))
    _, peak_mib = run_and_measure(
        "-m", "tfmlc.cli", "deblur", str(tmp_path / "in.jpg"), "-o", str(tmp_path / "out.jpg")
    )
    with capsys.disabled():
        print(f"\n8000x6000: peak memory {peak_mib * 2**20 / 1e9:.2f} GB")
    assert peak_mib * 2**20 < 4e9
    assert read_image(tmp_path / "out.jpg").pixels.shape == (6000, 8000, 3)
