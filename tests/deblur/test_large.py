"""Large photos go through in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import make_photo, run_and_measure
from tfmlc.io.images import Image, read_image, read_size, write_image

DEBLUR_WITHOUT_NETWORK = """
import sys
from pathlib import Path
from torch import Tensor
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.batch import plan_batch, run_batch
from tfmlc.networks import Network

class Same(Network):
    def __init__(self) -> None:
        super().__init__(step=16, floats_per_px=10)

    def restore(self, blurry: Tensor) -> tuple[Tensor, ...]:
        return (blurry,)

[outcome] = run_batch(Deblurrer(Same()), plan_batch([Path(sys.argv[1])], Path(sys.argv[2])), allow_large=True)
print(outcome.error)
"""  # a network takes half an hour, and a gigabyte more while it runs


@pytest.mark.slow
def test_300_megapixels_in_4_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "in.jpg", Image(np.tile(make_photo(600, 800), (25, 25, 1))))
    error, peak_mib = run_and_measure("-c", DEBLUR_WITHOUT_NETWORK, str(tmp_path / "in.jpg"), str(tmp_path / "out.jpg"))
    with capsys.disabled():
        print(f"\n20000x15000: peak memory {peak_mib * 2**20 / 1e9:.2f} GB")
    assert error == "None"
    assert peak_mib * 2**20 < 4e9  # what reading takes, and 1 GB for the interpreter; a copy in floats is 3.6 GB more
    assert read_size(tmp_path / "out.jpg") == (20000, 15000)


@pytest.mark.slow
def test_48_megapixels_in_4_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = make_photo(600, 800)
    write_image(tmp_path / "in.jpg", Image(np.tile(small, (10, 10, 1))))
    _, peak_mib = run_and_measure(
        "-m", "tfmlc.cli", "deblur", str(tmp_path / "in.jpg"), "-o", str(tmp_path / "out.jpg")
    )
    with capsys.disabled():
        print(f"\n8000x6000: peak memory {peak_mib * 2**20 / 1e9:.2f} GB")
    assert peak_mib * 2**20 < 4e9
    assert read_image(tmp_path / "out.jpg").pixels.shape == (6000, 8000, 3)
