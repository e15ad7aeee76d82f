"""Validated settings, from YAML files and ``key=value`` arguments; unknown keys are errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tfmlc.errors import UserError, unknown_name
from tfmlc.io.files import parse_json, read_utf8
from tfmlc.typed import is_record


class Config(BaseModel):
    """The base class of all settings: they cannot be changed, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_yaml(self) -> str:
        """Return all settings, defaults included, as the text of a YAML file."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


C = TypeVar("C", bound=Config)
T = TypeVar("T")


def checked(kind: type[C], values: Mapping[str, Any]) -> C:
    """Build settings from plain values.

    Raises UserError that names the key and, if the key is unknown, the most similar one.

    >>> class Recipe(Config):
    ...     steps: int = 10
    >>> checked(Recipe, {"stpes": 5})
    Traceback (most recent call last):
    tfmlc.errors.UserError: unknown setting 'stpes': did you mean 'steps'? (known: steps)
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            raise unknown_name("setting", ".".join(where), _known(kind, where[:-1])) from error
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"setting {'.'.join(where)} = {first['input']!r:.200}: {reason}") from error


def _known(kind: type[BaseModel], path: list[str]) -> list[str]:
    """Return the full names of the settings in the group at ``path``."""
    group = kind
    for part in path:
        inner = group.model_fields[part].annotation if part in group.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        group = inner
    return [".".join([*path, name]) for name in group.model_fields]


def read_record(path: Path, form: type[T], what: str, way_out: str) -> T:
    """Read a JSON file that an earlier step wrote and check its form; raises UserError as ``parse_record`` does."""
    return parse_record(read_utf8(path), form, path, what, way_out)


def parse_record(text: str, form: type[T], source: object, what: str, way_out: str) -> T:
    """Parse a JSON text and check its form.

    Args:
        text: The text.
        form: The type it must have, as pydantic validates it.
        source: Where the text comes from, for the error.
        what: What the text should be, for the error.
        way_out: How to fix it, for the error.

    Returns:
        The value.

    Raises:
        UserError: If the text is not JSON or has another form.

    Example:
        >>> parse_record('{"weight": "heavy"}', dict[str, float], "weight.json", "a loss weight", "remove it")
        Traceback (most recent call last):
        tfmlc.errors.UserError: weight.json is not a loss weight (weight: Input should be a valid number...): remove it
    """
    try:
        return TypeAdapter(form).validate_python(parse_json(text, source))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise UserError(f"{source} is not {what} ({reason}): {way_out}") from error
    except UserError as error:
        raise UserError(f"{error}: {way_out}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings."""
    content: object = _parse_yaml(read_utf8(path), path)
    if not is_record(content):
        raise UserError(f"{path} has no settings: it must have lines of the form 'key: value'")
    return content


def override(values: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Apply settings ``group.key=value``, with values in YAML, to a nested mapping.

    >>> override({"steps": 1, "blur": {"light": "stored"}}, ["steps=20", "blur.light=linear"])
    {'steps': 20, 'blur': {'light': 'linear'}}
    """
    result = dict(values)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise UserError(f"{setting!r} must have the form key=value")
        *groups, key = name.split(".")
        target = result
        for group in groups:
            inner: object = target.get(group)
            target[group] = dict(inner) if is_record(inner) else {}
            target = target[group]
        target[key] = _parse_yaml(text, f"the value of {setting[:100]!r}")
    return result


def _parse_yaml(text: str, source: object) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:  # the last two by impossible dates
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split()):.300}") from error
