"""Explain and check the public datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import app, one_line_errors, say, show


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="gopro, gopro-videos or realblur.")] = None,
    place: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="A copy to check: a folder, or the downloaded file.")
    ] = None,
) -> None:
    """Show where to get the paper's datasets and how they are laid out, or check a copy of one.

    A check counts the pairs, looks for missing and differently sized partners, and exits with 1 if anything is missing.
    """
    with one_line_errors():
        from tfmlc.data.datasets.public import PUBLIC_SETS, check_public, public_set

        if name is None or place is None:
            shown = PUBLIC_SETS.values() if name is None else [public_set(name)]
            show(*"\n\n".join(known.explain() for known in shown).splitlines())
            return
        there, missing = check_public(name, place)
        show(*there)
        for line in missing:
            say(f"tfmlc: {line}")
        if missing:
            raise typer.Exit(1)
