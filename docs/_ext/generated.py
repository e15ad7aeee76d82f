"""Reference pages that are made from the code: ``{generated} commands`` and ``{generated} settings``."""

from __future__ import annotations

import html
import importlib
import subprocess
import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

REQUIRED = "required"
SETTINGS = {  # what is configured, and the class that holds its settings
    "tfmlc train": "tfmlc.training.train:TrainConfig",
    "tfmlc adapt": "tfmlc.training.adapt_config:AdaptConfig",
    "tfmlc synthesize": "tfmlc.data.synthesis.sets:SetConfig",
    "tfmlc reproduce study": "tfmlc.reproduce.plan:StudyConfig",
    "tfmlc reproduce table1, table2, table3": "tfmlc.reproduce.inputs:GridConfig",
}


def commands() -> Iterator[str]:
    """Every verb with its arguments and options, as Typer describes them in Markdown."""
    described = subprocess.run(
        [sys.executable, "-m", "typer", "tfmlc.cli", "utils", "docs", "--name", "tfmlc"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = html.unescape(described).splitlines()[1:]  # the page has a title of its own
    yield from (line for line in lines if not line.startswith("* `--help`"))


def settings() -> Iterator[str]:
    """Every setting of the configured commands, as Markdown."""
    seen: set[type[BaseModel]] = set()
    for title, place in SETTINGS.items():
        module, name = place.split(":")
        yield f"## {title}\n"
        yield from _group(getattr(importlib.import_module(module), name), "", seen)


def _group(model: type[BaseModel], prefix: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    inner: list[tuple[str, type[BaseModel]]] = []
    rows: list[tuple[str, str, str, str]] = []
    for name, field in model.model_fields.items():
        kind = _model_of(field)
        if kind is not None:
            by_name = "NAME." if get_origin(field.annotation) is dict else ""
            inner.append((f"{prefix}{name}.{by_name}", kind))
            continue
        default = REQUIRED if field.is_required() else field.get_default(call_default_factory=True)
        rows.append((f"`{prefix}{name}`", f"`{_type(field.annotation)}`", _code(default), _words(field)))
    summary = " ".join((model.__doc__ or "").split("\n\n")[0].split())
    yield f"{summary}\n"
    yield _table(("setting", "type", "default", "meaning"), rows)
    for path, kind in inner:
        again = kind in seen
        seen.add(kind)
        yield f"### {path}*\n"
        if again:
            yield f"The same settings as above: {' '.join((kind.__doc__ or '').split())}\n"
        else:
            yield from _group(kind, path, seen)


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _type(kind: Any) -> str:
    """A type in words, such as ``int or native or None``."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        return _type(parts[0])
    if get_origin(kind) in (Union, UnionType, Literal):
        return " or ".join(part if isinstance(part, str) else _type(part) for part in parts)
    name = "None" if kind is NoneType else getattr(kind, "__name__", str(kind))
    return f"{name}[{', '.join(map(_type, parts))}]" if parts else name


def _words(field: FieldInfo) -> str:
    """A field's description and the limits of its value."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limits = [
        f"{sign} {getattr(rule, key)}" for rule in field.metadata for key, sign in signs.items() if hasattr(rule, key)
    ]
    text = field.description or ""
    return text + (f" ({', '.join(limits)})" if limits else "")


def _code(value: Any) -> str:
    return str(value) if value in ("", REQUIRED) else f"`{value}`"


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


class Generated(SphinxDirective):
    """Inserts the Markdown that one of the functions above makes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # Sphinx does not see when the code changes
        make = {"commands": commands, "settings": settings}[self.arguments[0]]
        return self.parse_text_to_nodes("\n".join(make()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True}
