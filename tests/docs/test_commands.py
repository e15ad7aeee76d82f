"""Commands and settings that the pages name exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from tfmlc.cli import app
from tfmlc.data.synthesis.sets import SetConfig
from tfmlc.reproduce.inputs import GridConfig
from tfmlc.reproduce.plan import StudyConfig
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.presets import PRESETS
from tfmlc.training.train import TrainConfig

REPOSITORY = Path(__file__).parent.parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
CONFIGS = {"train": TrainConfig, "adapt": AdaptConfig, "reproduce": (GridConfig, StudyConfig), "synthesize": SetConfig}


def commands_in(page: Path) -> list[list[str]]:
    """Words of every command ``tfmlc ...``, in blocks of code and within lines."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^tfmlc [^\n]*", "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)), re.MULTILINE)
    found += re.findall(r"`(tfmlc [^`\n]+)`", text)
    return [shlex.split(command, comments=True)[1:] for command in found]


def check(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    verb = words[0]
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    ends = not words or words[0].isupper() or words[0] in ("...", "--help")
    assert not hasattr(command, "commands") or ends, words
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--version"}
    for word in words:
        assert not re.match(r"--?[a-z]", word) or word in known, f"{verb} has no option {word}"
        if verb in CONFIGS and (setting := re.match(r"([a-z_.]+)=", word)):
            assert is_setting(CONFIGS[verb], setting[1]), f"{verb} has no setting {setting[1]}"
    if verb == "train" and words and words[0].islower() and not words[0].endswith(".yaml"):
        assert words[0] in PRESETS or words[0] == "...", f"no preset {words[0]}"


def is_setting(kinds: Any, path: str) -> bool:
    """Whether a dotted name leads to a field of one of the classes."""
    name, _, rest = path.partition(".")
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if name in kind.model_fields:
            annotation = kind.model_fields[name].annotation
            inner = tuple(
                part
                for part in (annotation, *getattr(annotation, "__args__", ()))
                if isinstance(part, type) and issubclass(part, BaseModel)
            )
            if getattr(annotation, "__origin__", None) is dict:  # the user gives the first name
                rest = rest.partition(".")[2]
            return not rest or not inner or is_setting(inner, rest)
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_exist(page: Path) -> None:
    for words in commands_in(page):
        if words:
            check(words)


def test_a_command_that_is_not_there_is_found() -> None:
    for words in (["deblur", "--sharper"], ["train", "default", "loop.paces=3"], ["train", "hinet-gopro"]):
        with pytest.raises(AssertionError):
            check(words)
