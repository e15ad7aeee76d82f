"""The structure of a source tree, as a table: packages, imports, cycles, longest file and function, parameters, casts.

python benchmarks/structure.py [SOURCE...]      SOURCE: a folder src/tfmlc; several are compared side by side
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

FORMER = {"images", "video"}  # modules that only hand on the names of the packages they became


def module_of(path: Path, source: Path) -> str:
    parts = ["tfmlc", *path.relative_to(source).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, modules: set[str]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tfmlc"):
            found |= {f"{node.module}.{name.name}" for name in node.names} & modules or {node.module}
    return found


def has_cycle(graph: dict[str, set[str]]) -> bool:
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError:
        return True
    return False


def functions(tree: ast.AST) -> Iterator[tuple[str, int, int]]:
    """Name, lines and parameters (less self and cls) of every function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1, count


def measure(source: Path) -> dict[str, str]:
    paths = [path for path in sorted(source.rglob("*.py")) if path.stem not in FORMER or path.parent != source]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    modules = {module_of(path, source) for path in paths}
    files = {module_of(path, source): imports(trees[path], modules) for path in paths}
    packages: dict[str, set[str]] = {}
    for module, targets in files.items():
        room = [*module.split("."), ""][1]
        packages.setdefault(room, set()).update({[*target.split("."), ""][1] for target in targets} - {room, ""})
    lines = {path: text.count("\n") for path, text in texts.items()}
    longest = max(lines, key=lambda path: lines[path])
    every = [(path, *function) for path, tree in trees.items() for function in functions(tree)]
    library = [row for row in every if "cli" not in row[0].parts]
    function, widest = max(every, key=lambda row: row[2]), max(library, key=lambda row: row[3])
    code = "\n".join(texts.values())
    return {
        "files": str(len(paths)),
        "lines": str(sum(lines.values())),
        "packages and modules at the top": str(len(packages) - (1 if "" in packages else 0)),
        "arrows between them": str(sum(len(targets) for targets in packages.values())),
        "cycle of packages": "yes" if has_cycle(packages) else "no",
        "cycle of files": "yes" if has_cycle(files) else "no",
        "longest file": f"{longest.relative_to(source)} ({lines[longest]})",
        "longest function": f"{function[1]} ({function[2]})",
        "functions over 50 lines": str(sum(row[2] > 50 for row in every)),
        "most parameters outside the command line": f"{widest[1]} ({widest[3]})",
        "functions with more than 7 parameters there": str(sum(row[3] > 7 for row in library)),
        "casts": str(len(re.findall(r"\bcast\(", code))),
        "type: ignore": str(len(re.findall(r"# (?:pyright|type): ignore", code))),
    }


def main() -> None:
    sources = [Path(name) for name in sys.argv[1:]] or [Path(__file__).parents[1] / "src" / "tfmlc"]
    columns = [measure(source) for source in sources]
    print("| | " + " | ".join(source.parts[-3] if len(source.parts) > 2 else str(source) for source in sources) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main()
