"""Write a report of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import (
    app,
    one_line_errors,
)


@app.command()
def report(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES...", help="JSON files of tfmlc evaluate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.html and the tables.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The pairs that were scored, to show images (kept by evaluate --save).")
    ] = None,
) -> None:
    """One HTML page of scores and images, and the table as Markdown, LaTeX and CSV."""
    with one_line_errors():
        from tfmlc.evaluation.report import write_report

        typer.echo(f"report: {write_report(scores, output, dataset)}")
