"""The benchmarks compare like with like; how fast anything is they only report."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import make_photo
from tfmlc.evaluation.bench.deblur import bench_deblur
from tfmlc.evaluation.bench.scores import PYIQA_NAMES, bench_scores
from tfmlc.evaluation.metrics import unavailable
from tfmlc.images import Picture, write_image


@pytest.mark.weights
def test_both_programs_give_the_same_scores(tmp_path: Path) -> None:
    if reasons := unavailable(list(PYIQA_NAMES)):
        pytest.skip(next(iter(reasons.values())))
    sharp = make_photo(224, 256)
    for name, image in (("a", sharp // 2), ("b", sharp[::-1] // 2 + 60)):
        write_image(tmp_path / "sharp" / f"{name}.png", Picture(image.copy()))
        write_image(tmp_path / "blur" / f"{name}.png", Picture(image // 3 * 2))
    costs = bench_scores(tmp_path)
    assert [row["models"] for row in costs["rows"]] == [1, 2]
    assert costs["images"] == 2
    assert {name: value for name, value in costs["largest_difference"].items() if value > 1e-4} == {}


def test_deblurring_is_measured_by_size_precision_and_tile() -> None:
    rows = bench_deblur("default", repeats=1, sides_px=[(48, 64)])
    assert [(row["picture"], row["tile_px"]) for row in rows] == [("64x48", "auto"), ("64x48", 256)] * 2
    assert rows[0]["times_faster"] == 1
