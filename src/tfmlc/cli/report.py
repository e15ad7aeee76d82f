"""Write a report of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import (
    app,
    one_line_errors,
    show,
)


@app.command()
def report(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES...", help="JSON files made by tfmlc evaluate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.html and the tables.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The dataset, to show its images. Needs evaluate --save.")
    ] = None,
) -> None:
    """Write an HTML page of scores and images, and the tables as Markdown, LaTeX and CSV."""
    with one_line_errors():
        from tfmlc.evaluation.report import write_report

        show(f"report: {write_report(scores, output, dataset)}")
