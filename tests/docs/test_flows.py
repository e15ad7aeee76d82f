"""The flows of calls in the documentation name functions and files that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tfmlc"
FLOWS = (ROOT / "docs" / "contributing-flows.md").read_text(encoding="utf-8")


def test_files_of_the_flows_exist() -> None:
    names = set(re.findall(r"`(\w[\w/]*\.py)`", FLOWS))
    assert len(names) > 20
    assert not [name for name in names if not (SOURCE / name).exists()]


def test_functions_of_the_flows_are_where_they_are_said_to_be() -> None:
    places = re.findall(r"`([\w.]+)` in `([\w/]+\.py)`", FLOWS)
    assert len(places) > 10
    for name, file in places:
        inside = ast.walk(ast.parse((SOURCE / file).read_text(encoding="utf-8")))
        found = {node.name for node in inside if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        assert set(name.split(".")) <= found, f"{file} has no {name}"
