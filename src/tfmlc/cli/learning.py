"""Verbs that learn: train, adapt, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.verbs import app, check_unlocked, one_line_errors, reproduce

GridSettings = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="gopro=DIR, realblur_j=LIST, triplets=DIR, ...")
]
Quick = Annotated[bool, typer.Option("--quick", help="Generated pictures and tiny networks: does everything run?")]
Tables = Annotated[Path | None, typer.Option("-o", "--output", help="Folder for scores. Default: results/TABLE.")]


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
        str | None, typer.Option(help="Gradient shares of the loss, as 0.3,1,3: a run each, and PSNR against LPIPS.")
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
            from tfmlc.training.finetune import resolved

            config, remarks = resolved(config)
            typer.echo("".join(f"# {remark}\n" for remark in remarks) + config.to_yaml())
            return
        if sweep is not None:
            from tfmlc.training.sweep import sweep_shares

            typer.echo(sweep_shares(config, folder, sweep))
            return
        from tfmlc.training.finetune import finetune

        typer.echo(f"weights: {finetune(config, folder, force=force)}")


@app.command()
def adapt(
    triplets: Annotated[Path, typer.Argument(metavar="DIR", help="A set that tfmlc synthesize triplets made.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Adapter file, .safetensors.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    backbone: Annotated[str, typer.Option(help="A backbone's name.")] = "clip-vit-b16",
    block: Annotated[int, typer.Option(help="Block whose features are adapted, from zero.")] = 3,
    report: Annotated[bool, typer.Option("--report", help="Also diagnose: what the adapted features rank.")] = False,
) -> None:
    """Teach an adapter on a frozen backbone to rank blur; a run that was stopped is taken up."""
    with one_line_errors():
        check_unlocked(output.with_suffix(".run"))
        from tfmlc.config import checked, override
        from tfmlc.training.adapt import AdaptConfig
        from tfmlc.training.adapt import adapt as run

        config = checked(AdaptConfig, override({"backbone": backbone, "block": block}, settings or []))
        learned = run(triplets, output, config)
        for kind, accuracy in learned["accuracy"].items():
            typer.echo(f"triplet accuracy, members {kind}: {accuracy['before']:.3f} -> {accuracy['after']:.3f}")
        if report:
            from tfmlc.evaluation.diagnose import diagnose_adapter

            typer.echo(diagnose_adapter(output, triplets, weights=config.weights))
        typer.echo(f"adapter: {output}")


@reproduce.command("study")
def reproduce_study(
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="photos=[DIR] and sets to score on.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scores.")] = Path("results/study"),
    work: Annotated[Path, typer.Option(help="Folder for pairs, adapters and runs.")] = Path("runs/study"),
) -> None:
    """Finetune under each loss with equal steps and data, score, and compare; a study that was stopped goes on."""
    with one_line_errors():
        from tfmlc.config import checked, override
        from tfmlc.reproduce.plan import StudyConfig
        from tfmlc.reproduce.study import study as run

        typer.echo(run(checked(StudyConfig, override({}, settings)), output, work))


@reproduce.command("table1")
def reproduce_table1(settings: GridSettings = None, quick: Quick = False, output: Tables = None) -> None:
    """Table 1: MPRNet lite and HINet under each loss, on GoPro and RealBlur."""
    _reproduce("table1", settings, quick, output)


@reproduce.command("table2")
def reproduce_table2(settings: GridSettings = None, quick: Quick = False, output: Tables = None) -> None:
    """Table 2: HINet under FMLC on the final layer of five backbones."""
    _reproduce("table2", settings, quick, output)


@reproduce.command("table3")
def reproduce_table3(settings: GridSettings = None, quick: Quick = False, output: Tables = None) -> None:
    """Table 3: HINet under TFMLC on six blocks of a backbone."""
    _reproduce("table3", settings, quick, output)


def _reproduce(
    table: Literal["table1", "table2", "table3"], settings: list[str] | None, quick: bool, output: Path | None
) -> None:
    with one_line_errors():
        from tfmlc.config import checked, override
        from tfmlc.reproduce.grid import GridConfig, reproduce_table

        name = f"{table}-quick" if quick else table
        config = checked(GridConfig, override({}, settings or []))
        typer.echo(reproduce_table(table, config, output or Path("results") / name, Path("runs") / name, quick=quick))
