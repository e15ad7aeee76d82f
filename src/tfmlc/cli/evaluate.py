"""Score models on pairs of blurry and sharp images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.tree import (
    Device,
    Precision,
    Ray,
    RayCores,
    Tile,
    WithRay,
    app,
    find_cluster,
    one_line_errors,
    show,
)

Model = Annotated[
    str, typer.Argument(help="Name of a model, a weights file, a folder of restored images, or 'blurry'.")
]
Datasets = Annotated[
    list[Path],
    typer.Argument(metavar="SET...", help="Folders with blur/ and sharp/, GOPRO_Large, HIDE, or a list of RealBlur."),
]
Protocols = Annotated[str, typer.Option(help="Protocols that define PSNR and SSIM, separated by commas, or all.")]
Metrics = Annotated[
    str,
    typer.Option(help="More metrics, separated by commas: periodicity, lpips, dists, niqe, brisque, pi, pieapp, ..."),
]
Official = Annotated[
    bool,
    typer.Option(
        "--official",
        help="Restore as the official code of the network does, in fp32: HINet in crops of 256 px, others the "
        "whole image. Default: as 'tfmlc deblur' does.",
    ),
]
Blur = Annotated[
    Literal["blur", "blur_gamma"], typer.Option(help="GoPro: blur averages stored values, blur_gamma linear light.")
]
PaperRow = Annotated[
    str | None,
    typer.Option(help="Row of the paper to compare with: table1/NETWORK/LOSS/SET, table2/BACKBONE or table3/BLOCK."),
]


@app.command(cls=WithRay)
def evaluate(
    model: Model,
    datasets: Datasets,
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the scores.")],
    protocol: Protocols = "gopro-hinet",
    metrics: Metrics = "",
    tile: Tile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    official: Official = False,
    blur_kind: Blur = "blur",
    tlc: Annotated[
        bool, typer.Option("--tlc", help="Also score the model with local statistics (TLC), in NAME-tlc.json.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the restored images, for a report.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace scores of another model or dataset.")] = False,
    paper: PaperRow = None,
    ray: Ray = None,
    ray_cores: RayCores = None,
) -> None:
    """Score a model on one or several datasets of blurry and sharp images."""
    with one_line_errors():
        from tfmlc.errors import UserError
        from tfmlc.evaluation.evaluate import evaluate as run
        from tfmlc.evaluation.show import as_text, unavailable_in
        from tfmlc.evaluation.sources import TLC, RestoreSettings
        from tfmlc.metrics.protocols import comma_separated
        from tfmlc.reproduce.paper import find_values

        if paper is not None and len(datasets) > 1:
            raise UserError("--paper compares with a row of one dataset: give one dataset")
        published = None if paper is None else find_values(paper)
        results = run(
            {model: output} | ({f"{model}{TLC}": output.parent / f"{output.stem}-tlc{output.suffix}"} if tlc else {}),
            datasets,
            metrics=[name for name in dict.fromkeys(comma_separated(metrics)) if name != "ssim"],  # the protocol's
            protocols=_protocols(protocol, published or ()),
            restoring=RestoreSettings(device, precision, tile, save, find_cluster(ray, ray_cores), official, blur_kind),
            overwrite=overwrite,
            more=None if published is None else {"published": published},
        )
        show(*as_text(results).splitlines())
        if missing := unavailable_in(results):
            show(*(f"tfmlc: {reason}" for reason in missing), err=True)
            raise typer.Exit(1)


def _protocols(names: str, published: Iterable[str]) -> list[str]:
    """Return the protocols of the user, and those of the published scores."""
    from tfmlc.metrics.protocols import find_protocols

    protocols = find_protocols(names)
    needed = dict.fromkeys(key.partition("/")[0] for key in published if "/" in key)
    return [*protocols, *(name for name in needed if name not in protocols)]
