"""The generated pages name types in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

pytest.importorskip("sphinx", reason="the extra docs is not installed")
sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))
import generated


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Annotated[int, Field(gt=0)] | Literal["native"] | None, "int or native or None"),
        (float | Literal["paper", "auto"], "float or paper or auto"),
        (dict[str, Any], "dict[str, Any]"),
        (tuple[float, float], "tuple[float, float]"),
        (list[Path], "list[Path]"),
    ],
)
def test_types_are_said_in_words(kind: Any, words: str) -> None:
    assert generated._type(kind) == words
