"""The command line. This file is light, so that an interruption is one line from the start on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    app: typer.Typer

__all__ = ["app", "main"]


def __getattr__(name: str) -> typer.Typer:
    """Return the tree of commands, which is imported on first use."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tfmlc.cli.commands import app

    return app


def main() -> None:
    """Entry point of the ``tfmlc`` command."""
    try:
        from tfmlc.cli.commands import app

        app()
    except KeyboardInterrupt:  # before the command itself runs
        from tfmlc.errors import INTERRUPTED

        sys.stderr.write(f"{INTERRUPTED}\n")
        sys.exit(130)
