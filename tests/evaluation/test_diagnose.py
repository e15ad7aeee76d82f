"""The diagnosis tells a distance that ranks blur from one that does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import make_photo
from tfmlc.data.datasets.triplet_sources import StoredTriplets
from tfmlc.data.datasets.triplets import Augmentation, find_triplets
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.data.synthesis.videos import VideoBlurConfig
from tfmlc.evaluation.diagnose import as_table, diagnose, equal_psnr, gradient_map, spearman
from tfmlc.evaluation.plots import draw_diagnosis


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tfmlc.io.images import Image, write_image

    folder = tmp_path_factory.mktemp("set")
    for number, size in enumerate((230, 260)):
        write_image(folder / "photos" / f"{number}.png", Image(make_photo(size, size)))
    video = VideoBlurConfig(levels=4)
    synthesize([folder / "photos"], folder / "out", SetConfig(kind="triplets", images="photos", video=video), workers=1)
    return folder / "out"


def test_good_and_bad_distances(folder: Path) -> None:
    def mse(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        return (restored - sharp).square().flatten(1).mean(dim=1)

    def checkerboard(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        return mse(restored[..., ::16, ::16], sharp[..., ::16, ::16])

    distances = {"mse": mse, "reversed": lambda r, s: 1 / (mse(r, s) + 1e-9), "checkerboard": checkerboard}
    triplets = StoredTriplets(find_triplets(folder), Augmentation())
    good, bad, periodic = diagnose(distances, triplets)
    assert good["within"] > 0.8
    assert good["accuracy"] > 0.8
    assert bad["within"] == -good["within"]
    assert good["to_noise"] == pytest.approx(1, rel=0.05)  # equal PSNR is equal MSE
    assert good["to_shift"] == pytest.approx(1, rel=0.05)
    assert periodic["periodicity"] > 5 * max(good["periodicity"], 0.01)
    assert as_table([good, bad]).count("\n") == 3
    members = triplets.plain(0)[..., :96, :96]
    gradients = {name: gradient_map(distance, members[-1:], members[:1]) for name, distance in distances.items()}
    draw_diagnosis(folder / "figure.png", [good, bad, periodic], gradients)
    assert (folder / "figure.png").stat().st_size > 5000


def test_equal_psnr() -> None:
    sharp = torch.tensor(make_photo(96, 96)).permute(2, 0, 1)[None].float() / 255
    blurry = torch.nn.functional.avg_pool2d(sharp, 9, 1, 4)
    target = float((blurry - sharp).square().mean())
    for kind, other in equal_psnr(sharp, blurry).items():
        error = float((other - sharp).square().mean())
        assert error == pytest.approx(target, rel=0.6 if kind == "jpeg" else 0.1), kind  # JPEG has whole qualities


def test_the_rank_correlation_of_ties_and_of_equal_values() -> None:
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(np.sqrt(0.75))
    assert spearman(np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])) == 0
