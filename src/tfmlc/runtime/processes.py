"""This process: which one of several that a launcher has started, and its environment."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager


def is_first_process() -> bool:
    """Return whether this process is the only one, or the first one of those that work together."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def environment(values: Mapping[str, str]) -> Generator[None]:
    """Set environment variables within a context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
