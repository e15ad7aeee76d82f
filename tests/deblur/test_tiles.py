"""Tiles cover every pixel with weights that sum to one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from tfmlc.deblur.tiling import LARGEST_TILE_PX, Tile, largest_tile_px, spans


@pytest.mark.parametrize("length", [1, 5, 16, 63, 64, 65, 100, 127, 128, 129, 500, 1280, 4001])
@pytest.mark.parametrize(
    ("tile", "overlap", "step"), [(64, 16, 16), (64, 0, 16), (48, 12, 8), (256, 64, 16), (32, 8, 16), (16, 4, 16)]
)
def test_weights_sum_to_one(length: int, tile: int, overlap: int, step: int) -> None:
    total = torch.zeros(length)
    pieces = spans(length, tile, overlap, step)
    for piece in pieces:
        assert piece.start % step == 0
        assert 0 < piece.stop - piece.start <= tile
        total[piece.start : piece.stop] += piece.weights
    assert torch.allclose(total, torch.ones(length), atol=1e-6)
    assert pieces[0].start == 0
    assert pieces[-1].stop == length
    for before, after in pairwise(pieces):
        assert before.stop - after.start >= min(overlap, tile - step)
    gaps = len(pieces) - 1
    assert gaps == (-(-(length - tile) // max(step, (tile - overlap) // step * step)) if length > tile else 0)
    most_twice = gaps * -(-overlap // step) * step + (gaps + 1) * step
    assert sum(piece.stop - piece.start for piece in pieces) <= length + most_twice


def test_a_tile_reaches_its_seams_with_zero_weight() -> None:
    first, second, *_ = spans(500, 64, 16, 16)
    assert float(first.weights[-1]) < 0.02
    assert float(second.weights[0]) < 0.02


def test_tiles_of_an_image() -> None:
    total = torch.zeros(100, 150)
    for rows in spans(100, 64, 16, 16):
        for columns in spans(150, 64, 16, 16):
            tile = Tile(rows, columns)
            total[tile.area] += tile.weights
    assert torch.allclose(total, torch.ones(100, 150), atol=1e-6)


def test_on_cuda_a_tile_does_not_depend_on_what_ran_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps blocks that it does not use any more; the driver does not count them as free."""
    found: list[int] = []
    for free, reserved, allocated in ((800_000, 300_000, 300_000), (500_000, 600_000, 300_000)):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda _, free=free: (free, 10**9))
        monkeypatch.setattr("torch.cuda.memory_reserved", lambda _, reserved=reserved: reserved)
        monkeypatch.setattr("torch.cuda.memory_allocated", lambda _, allocated=allocated: allocated)
        found.append(largest_tile_px(4, torch.device("cuda")))
    assert found == [316, 316]
    assert found[0] < LARGEST_TILE_PX
