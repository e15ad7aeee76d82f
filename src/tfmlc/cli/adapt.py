"""Train an adapter on triplets."""

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


@app.command()
def adapt(
    triplets: Annotated[Path, typer.Argument(metavar="DIR", help="A set of triplets, or a folder of sharp photos.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The adapter's file, .safetensors.")],
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    backbone: Annotated[str, typer.Option(help="Name of the backbone.")] = "clip-vit-b16",
    block: Annotated[int, typer.Option(help="Block whose features are adapted, counted from zero.")] = 3,
    report: Annotated[
        bool, typer.Option("--report", help="Also diagnose how well the adapted features rank blur.")
    ] = False,
) -> None:
    """Train an adapter on a frozen backbone to rank blur.

    Run the same command again to continue an interrupted run.
    """
    with one_line_errors():
        check_unlocked(output.parent / f"{output.stem}.run")  # with_suffix takes no "."
        from tfmlc.config import checked, override
        from tfmlc.training.adapt import adapt as run
        from tfmlc.training.adapt_config import AdaptConfig

        config = checked(AdaptConfig, override({"backbone": backbone, "block": block}, settings or []))
        learned = run(triplets, output, config)
        for kind, accuracy in learned["accuracy"].items():
            before, after = accuracy["before"], accuracy["after"]
            show(f"triplet accuracy with {kind} augmentation: {before:.3f} -> {after:.3f}")
        if report:
            from tfmlc.evaluation.diagnose import diagnose_adapter
            from tfmlc.training.adapt_data import load_data

            held = load_data(triplets, config).validation
            show(*diagnose_adapter(output, held, weights=config.weights).splitlines())
        show(f"adapter: {output}")
