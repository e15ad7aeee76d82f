"""No file imports upward, and there is no cycle: data flows one way."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "tfmlc"
FLOORS = {
    1: {"errors", "files", "weights", "config", "shapes", "precision", "progress", "processes", "locks"}
    | {"periodicity"},
    2: {"networks", "backbones", "images", "video", "checkpoint", "torch_files", "state_dicts", "not_weights"},
    3: {"losses", "data", "deblur"},
    4: {"training", "evaluation", "app", "reproduce"},
    5: {"cli"},
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tfmlc"):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("tfmlc")}
    return found


def module_name(path: Path) -> str:
    parts = ["tfmlc", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert rooms <= FLOOR_OF.keys()


def test_no_import_goes_up() -> None:
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for module in imports(path):
            target = [*module.split("."), ""][1]
            assert target, f"{path} imports the whole package"
            assert target == room or FLOOR_OF[target] <= FLOOR_OF[room], f"{path} imports {module}, which is above it"


def test_deblurring_and_what_is_below_name_no_option_of_the_command_line() -> None:
    """An error names the parameter that mends it; the command line has its own word for that."""
    rooms = {"deblur", "data", "images", "locks", "files", "errors", "progress", "processes"}
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0].removesuffix(".py") in rooms:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    named = re.search(r"(?<![\w-])(--[a-z]|-o\b)", node.value)
                    assert named is None, f"{path}, line {node.lineno}, names {named[0] if named else ''}"


def test_no_cycle() -> None:
    graph = {module_name(path): imports(path) for path in SOURCE.rglob("*.py")}
    tuple(TopologicalSorter(graph).static_order())


def test_deblurring_needs_no_training_code() -> None:
    for path in (SOURCE / "deblur").glob("*.py"):
        assert not {module for module in imports(path) if module.split(".")[1] in ("training", "data", "losses")}


def test_only_one_place_parses_json_and_only_one_yaml() -> None:
    """A file's content is refused in one line wherever it is read; a copy through JSON reads no file."""
    parses = re.compile(r"\b(json\.loads?\((?!json\.dumps\()|yaml\.\w*load\w*\()")
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    found = {(name, path) for path, text in texts.items() for name in parses.findall(text)}
    assert found == {("json.loads(", "files.py"), ("yaml.safe_load(", "config.py")}
