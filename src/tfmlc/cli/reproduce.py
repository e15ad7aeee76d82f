"""Reproduce the study and the paper's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.tree import (
    one_line_errors,
    reproduce,
    show,
)

GridSettings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="gopro=DIR, realblur_j=LIST, triplets=DIR, ...")
]

Quick = Annotated[
    bool, typer.Option("--quick", help="Use generated images and tiny networks, to check that everything runs.")
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Only print what each cell needs, where to get it, and its estimated cost.")
]
Tables = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the scores. Default: results/TABLE.")]
Work = Annotated[Path | None, typer.Option(help="Folder for adapters and runs. Default: runs/TABLE.")]


@reproduce.command("study")
def reproduce_study(
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Settings: photos=[DIR] and the sets to score on.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scores.")] = Path("results/study"),
    work: Annotated[Path, typer.Option(help="Folder for pairs, adapters and runs.")] = Path("runs/study"),
) -> None:
    """Finetune with each loss on the same data for the same number of steps, then score and compare.

    Run the same command again to continue an interrupted study.
    """
    with one_line_errors():
        from tfmlc.config import checked, override
        from tfmlc.reproduce.plan import StudyConfig
        from tfmlc.reproduce.study import study as run

        show(*run(checked(StudyConfig, override({}, settings)), output, work).splitlines())


@reproduce.command("table1")
def reproduce_table1(
    settings: GridSettings = None, quick: Quick = False, plan: Plan = False, output: Tables = None, work: Work = None
) -> None:
    """Reproduce table 1: MPRNet lite and HINet with each loss, on GoPro and RealBlur."""
    _reproduce("table1", settings, quick, plan, output, work)


@reproduce.command("table2")
def reproduce_table2(
    settings: GridSettings = None, quick: Quick = False, plan: Plan = False, output: Tables = None, work: Work = None
) -> None:
    """Reproduce table 2: HINet with FMLC on the final layer of five backbones."""
    _reproduce("table2", settings, quick, plan, output, work)


@reproduce.command("table3")
def reproduce_table3(
    settings: GridSettings = None, quick: Quick = False, plan: Plan = False, output: Tables = None, work: Work = None
) -> None:
    """Reproduce table 3: HINet with TFMLC on six blocks of a backbone."""
    _reproduce("table3", settings, quick, plan, output, work)


def _reproduce(
    table: Literal["table1", "table2", "table3"],
    settings: list[str] | None,
    quick: bool,
    plan: bool,
    output: Path | None,
    work: Path | None,
) -> None:
    """Run or plan a table.

    Several machines can run the same command in the same folder. The exit status is 1 if cells are missing.
    """
    with one_line_errors():
        from tfmlc.config import checked, override
        from tfmlc.reproduce.inputs import GridConfig

        name = f"{table}-quick" if quick else table
        config = checked(GridConfig, override({}, settings or []))
        output = output or Path("results") / name
        if plan:
            from tfmlc.reproduce.outline import outline

            show(*outline(table, config, output).splitlines())
            return
        from tfmlc.reproduce.grid import reproduce_table

        made = reproduce_table(table, config, output, work or Path("runs") / name, quick=quick)
        show(*made.text.splitlines())
        if made.missing:
            raise typer.Exit(1)
