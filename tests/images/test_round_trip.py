"""Nothing is lost in silence: formats x depths x modes x metadata, by files and readers that are not this package's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import REPOSITORY
from round_trip.matrix import rows
from tfmlc.io.images.formats import KINDS


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    if not all(KINDS[name].is_read for name in ("HEIC", "JPEG XL", "raw")):
        pytest.skip("needs the extras heic, jxl and raw")
    return rows()


def test_no_cell_is_silent_loss(measured: list[dict[str, Any]]) -> None:
    silent = [
        (row["source"], row["kind"], row["target"], name)
        for row in measured
        for name, outcome in {"pixels": row["pixels"], **row["metadata"]}.items()
        if outcome not in ("kept", "made anew", "said") and not outcome.startswith(("exact", "near"))
    ]
    assert not silent
    assert len(measured) > 400


def test_the_table_in_the_docs_is_what_happens(measured: list[dict[str, Any]]) -> None:
    kept = json.loads((REPOSITORY / "results" / "formats.json").read_text(encoding="utf-8"))["rows"]
    assert measured == kept, "python benchmarks/formats.py, then python benchmarks/tables.py"
