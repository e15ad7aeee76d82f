"""Settings are checked, and typos get the nearest key."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from tfmlc.config import Config, checked, override, read_yaml
from tfmlc.errors import UserError


class Inner(Config):
    width: int = Field(3, ge=1)


class Outer(Config):
    steps: int = 1
    inner: Inner = Inner()


def test_values_are_checked() -> None:
    assert checked(Outer, {"inner": {"width": 5}}).inner.width == 5
    with pytest.raises(UserError, match=r"inner\.width = 0"):
        checked(Outer, {"inner": {"width": 0}})
    with pytest.raises(UserError, match=r"did you mean 'inner\.width'"):
        checked(Outer, {"inner": {"widht": 1}})


def test_overrides_do_not_change_what_they_start_from() -> None:
    start = {"inner": {"width": 1}}
    assert override(start, ["inner.width=2", "steps=7"]) == {"inner": {"width": 2}, "steps": 7}
    assert start == {"inner": {"width": 1}}


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1\n", "\xff\xfe"])
def test_bad_yaml_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"a\.yaml") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)
