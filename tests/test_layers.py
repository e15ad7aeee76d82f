"""No file imports upward, and there is no cycle: data flows one way. Files and functions stay short."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "tfmlc"
FLOORS = {
    1: {"errors", "padding", "runtime", "typed"},
    2: {"io"},
    3: {"config", "results", "networks", "backbones"},
    4: {"losses"},
    5: {"data", "metrics", "deblur"},
    6: {"evaluation"},
    7: {"training"},
    8: {"bench", "reproduce", "app"},
    9: {"cli", "__init__"},
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
FORMER = {"images", "video"}  # modules that only hand on the names of the rooms they became
MOST_FILE_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 320, 50, 7
NAMES_OPTIONS = {"training", "evaluation", "reproduce", "bench", "results"}  # results: those of git


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def files() -> list[Path]:
    return [path for path in SOURCE.rglob("*.py") if room_of(path) not in FORMER]


def module_name(path: Path) -> str:
    parts = ["tfmlc", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in SOURCE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tfmlc"):
            submodules = {f"{node.module}.{name.name}" for name in node.names} & MODULES
            found |= submodules or {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("tfmlc")}
    return found


def package_of(module: str) -> str:
    return [*module.split("."), ""][1]


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in files()} <= FLOOR_OF.keys()


def test_no_import_goes_up() -> None:
    for path in files():
        for module in imports(path):
            target = package_of(module)
            assert target, f"{path} imports the whole package"
            same = target == room_of(path)
            assert same or FLOOR_OF[target] <= FLOOR_OF[room_of(path)], f"{path} imports {module}, which is above it"


def test_only_the_command_line_names_its_options() -> None:
    """An error names the parameter that mends it; the command line has its own word for that."""
    for path in files():
        if room_of(path) in {"cli", *NAMES_OPTIONS}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.search(r"(?<![\w-])(--[a-z]|-o\b)", node.value)
                assert named is None, f"{path}, line {node.lineno}, names {named[0] if named else ''}"


def test_no_cycle_of_files() -> None:
    tuple(TopologicalSorter({module_name(path): imports(path) for path in files()}).static_order())


def test_no_cycle_of_packages() -> None:
    graph: dict[str, set[str]] = {}
    for path in files():
        room = room_of(path)
        graph.setdefault(room, set()).update({package_of(module) for module in imports(path)} - {room})
    tuple(TopologicalSorter(graph).static_order())


def test_deblurring_needs_no_training_code() -> None:
    for path in (SOURCE / "deblur").glob("*.py"):
        assert not {package_of(module) for module in imports(path)} & {"training", "data", "losses"}


def test_only_one_place_parses_json_and_only_one_yaml() -> None:
    """A file's content is refused in one line wherever it is read; a copy through JSON reads no file."""
    parses = re.compile(r"\b(json\.loads?\((?!json\.dumps\()|yaml\.\w*load\w*\()")
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    found = {(name, path) for path, text in texts.items() for name in parses.findall(text)}
    assert found == {("json.loads(", "io/files.py"), ("yaml.safe_load(", "config.py")}


def test_files_and_functions_are_short() -> None:
    """A function fits on a screen. Only commands have more parameters: their options are their parameters."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= MOST_FILE_LINES, f"{path} is longer than {MOST_FILE_LINES} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= MOST_FUNCTION_LINES, f"{node.name} in {path} has {lines} lines"
                given = node.args
                names = {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
                few = len(names) <= MOST_PARAMETERS or room_of(path) == "cli"
                assert few, f"{node.name} in {path} has {len(names)} parameters"
