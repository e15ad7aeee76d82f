"""Train a deblurring network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import (
    app,
    check_unlocked,
    one_line_errors,
    show,
)
from tfmlc.runtime.processes import is_first_process


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="Name of a preset or a YAML file.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the run. Default: runs/NAME.")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and exit.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Run for seconds, to check that everything works.")] = False,
    batch: Annotated[
        int | None,
        typer.Option("--scale-to", min=1, help="Change the batch size; steps and learning rate are scaled with it."),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Gradient ratios to try, for example 0.3,1,3. Trains one run each and plots LPIPS over PSNR."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Resume a run although its settings have changed.")] = False,
) -> None:
    """Train a deblurring network, or resume the run in the folder."""
    folder = output or Path("runs") / f"{Path(recipe).stem}{'-smoke' if smoke else ''}"
    with one_line_errors():
        if not print_config:
            check_unlocked(folder)
        from tfmlc.training.presets import check_effects, load_recipe, scale_to

        config = load_recipe(recipe, settings or [], smoke=smoke)
        check_effects(config, settings or [])
        if batch is not None:
            config, changes = scale_to(config, batch)
            show(*changes, err=True)
        from tfmlc.training.train import resolved, train_network

        if print_config:
            config, remarks = resolved(config)
            show(*(f"# {remark}" for remark in remarks), *config.to_yaml().splitlines())
            return
        if sweep is not None:
            from tfmlc.training.sweep import sweep_ratios

            said = sweep_ratios(config, folder, sweep, force=force)
        else:
            said = f"weights: {train_network(config, folder, force=force)}"
        if smoke:
            said += f"\nthe smoke run passed all {config.loop.steps} steps: leave out --smoke to train"
        if is_first_process():
            show(*said.splitlines())
