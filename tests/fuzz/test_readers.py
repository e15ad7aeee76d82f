"""Spoiled files are refused in one line, whatever is wrong with them; benchmarks/fuzz runs many more."""

from __future__ import annotations

from pathlib import Path

import pytest
from readers import KINDS, try_one

CASES = {"image": 150, "weights": 60, "text": 60, "video": 20, "values": 60}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_themselves_are_read(tmp_path: Path, kind: str) -> None:
    seeds, read, _ = KINDS[kind]
    for path in seeds(tmp_path):
        read(path)


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "spoiled").mkdir()
    seeds = KINDS[kind][0](tmp_path / "seeds")
    for number in range(CASES[kind]):
        try_one(kind, seeds, number, tmp_path / "spoiled")
