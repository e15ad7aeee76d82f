"""Train a deblurring network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import (
    app,
    check_unlocked,
    one_line_errors,
)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="PRESET|FILE.yaml", help="A preset's name or a YAML file.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder. Default: runs/NAME.")] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings and stop.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Shrink to seconds, to see that everything runs.")] = False,
    batch: Annotated[
        int | None, typer.Option("--scale-to", min=1, help="Batch size to scale to; as many images are seen.")
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="Gradient ratios of the loss, as 0.3,1,3: a run each, and PSNR against LPIPS.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Resume although settings changed.")] = False,
) -> None:
    """Train a deblurring network; a run folder that exists is resumed."""
    folder = output or Path("runs") / f"{Path(recipe).stem}{'-smoke' if smoke else ''}"
    with one_line_errors():
        if not print_config:
            check_unlocked(folder)
        from tfmlc.training.presets import load_recipe, scale_to

        config = load_recipe(recipe, settings or [], smoke=smoke)
        if batch is not None:
            config, changes = scale_to(config, batch)
            typer.echo("\n".join(changes), err=True)
        if print_config:
            from tfmlc.training.train import resolved

            config, remarks = resolved(config)
            typer.echo("".join(f"# {remark}\n" for remark in remarks) + config.to_yaml())
            return
        if sweep is not None:
            from tfmlc.training.sweep import sweep_ratios

            typer.echo(sweep_ratios(config, folder, sweep))
            return
        from tfmlc.training.train import train_network

        typer.echo(f"weights: {train_network(config, folder, force=force)}")
