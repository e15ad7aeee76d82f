"""Verbs that measure: evaluate, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.verbs import Device, Precision, app, bench, one_line_errors


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model's name, a weights file, a folder of restored images, or 'blurry'.")
    ],
    datasets: Annotated[
        list[Path],
        typer.Argument(metavar="SET...", help="Folders with blur/ and sharp/, GOPRO_Large, RealBlur list, HIDE."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the scores.")],
    protocol: Annotated[
        str, typer.Option(help="What PSNR and SSIM mean; names by commas, or all. See docs/scores.md.")
    ] = "gopro-hinet",
    metrics: Annotated[
        str, typer.Option(help="More scores, by commas: periodicity, lpips, dists, niqe, brisque, pi, ...")
    ] = "",
    tile: Annotated[int | None, typer.Option(help="Side of a tile in px; 0: whole image.")] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    tlc: Annotated[bool, typer.Option("--tlc", help="Also with local statistics; scores in NAME-tlc.json.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the restored images, for a report.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also where the file holds scores of another model or dataset.")
    ] = False,
    paper: Annotated[
        str | None,
        typer.Option(help="Row of the paper for the report: table1/NETWORK/LOSS/SET, table2/BACKBONE, table3/BLOCK."),
    ] = None,
) -> None:
    """Score a model on pairs of blurry and sharp images; several sets give one table."""
    with one_line_errors():
        from tfmlc.errors import UserError
        from tfmlc.evaluation.evaluate import evaluate as run
        from tfmlc.evaluation.protocols import find_protocols
        from tfmlc.evaluation.show import as_text, unavailable_in
        from tfmlc.evaluation.sources import TLC
        from tfmlc.reproduce.paper import find_values

        wanted = [name for name in dict.fromkeys(metrics.split(",")) if name and name != "ssim"]  # the protocol's
        protocols = find_protocols(protocol)
        if paper is not None and len(datasets) > 1:
            raise UserError("--paper is a row for one dataset: evaluate one set a call")
        published = None if paper is None else find_values(paper)
        if published is not None:
            needed = dict.fromkeys(key.partition("/")[0] for key in published if "/" in key)
            protocols += [name for name in needed if name not in protocols]
        models = {model: output}
        if tlc:
            models[f"{model}{TLC}"] = output.with_stem(f"{output.stem}-tlc")
        results = run(
            models,
            datasets,
            metrics=wanted,
            protocols=protocols,
            device=device,
            precision=precision,
            tile_px=tile,
            save=save,
            overwrite=overwrite,
            more=None if published is None else {"published": published},
        )
        typer.echo(as_text(results))
        if missing := unavailable_in(results):
            typer.echo("\n".join(f"tfmlc: {reason}" for reason in missing), err=True)
            raise typer.Exit(1)


@app.command()
def report(
    scores: Annotated[list[Path], typer.Argument(metavar="SCORES...", help="JSON files of tfmlc evaluate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.html and the tables.")],
    dataset: Annotated[
        Path | None, typer.Option(help="The pairs that were scored, to show pictures (kept by evaluate --save).")
    ] = None,
) -> None:
    """One HTML page of scores and pictures, and the table as Markdown, LaTeX and CSV."""
    with one_line_errors():
        from tfmlc.evaluation.report import write_report

        typer.echo(f"report: {write_report(scores, output, dataset)}")


@bench.command("loss")
def bench_loss(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the best counts.")] = 5,
) -> None:
    """Time and memory of a training step of the losses, against the released procedure and LPIPS, DISTS."""
    with one_line_errors():
        from tfmlc.evaluation.bench.loss import bench_loss as run
        from tfmlc.evaluation.bench.loss import summary
        from tfmlc.evaluation.provenance import write_result

        rows = run(repeats)
        ratios = summary(rows)
        write_result(output, {"rows": rows, "ratios": ratios})
        for row in rows:
            values = row.get("unavailable") or f"{row['seconds']:8.3f} s {row['extra_mib']:8.0f} MiB"
            typer.echo(f"{row['loss']:<28} {row['precision']}  {values}")
        for name, ratio in ratios.items():
            typer.echo(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in ratio.items()))


@bench.command("step")
def bench_step(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the best counts.")] = 3,
) -> None:
    """Time of a finetuning step of HINet and MPRNet lite under each loss."""
    with one_line_errors():
        from tfmlc.evaluation.bench.step import bench_steps
        from tfmlc.evaluation.provenance import write_result

        rows = bench_steps(repeats)
        write_result(output, {"rows": rows})
        for row in rows:
            typer.echo(f"{row['network']:<16} {row['loss']:<16} {row['seconds']:8.3f} s  x {row['relative']:.2f}")


@bench.command("synthesize")
def bench_synthesize(
    film: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
) -> None:
    """Speed of making triplets beside merely decoding the film, and memory by length of window."""
    with one_line_errors():
        from tfmlc.evaluation.bench.synthesis import bench_synthesis
        from tfmlc.evaluation.provenance import write_result

        costs = bench_synthesis(film)
        write_result(output, costs)
        for row in costs["rows"]:
            processes = f"{row['processes']} process{'es' if row['processes'] > 1 else ''}"
            typer.echo(f"{row['source']}, {processes}: {row['relative_speed']:.2f} of the speed of decoding")
        memory = ", ".join(f"{mib} MiB (windows of {frames} frames)" for frames, mib in costs["extra_mib"].items())
        typer.echo(f"extra memory: {memory}")


@bench.command("deblur")
def bench_deblur(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
    model: Annotated[str, typer.Option("-m", "--model", help="A model's name or a weights file.")] = "default",
) -> None:
    """Time and memory of deblurring, by size of the picture, precision and tile."""
    with one_line_errors():
        from tfmlc.evaluation.bench.deblur import bench_deblur as run
        from tfmlc.evaluation.provenance import write_result

        rows = run(model)
        write_result(output, {"model": model, "rows": rows})
        for row in rows:
            typer.echo(
                f"{row['picture']:<10} {row['precision']} tile {row['tile_px']!s:<5} {row['seconds']:8.2f} s "
                f"{row['extra_mib']:7.0f} MiB  x {row['times_faster']:.2f}"
            )


@bench.command("evaluate")
def bench_evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with blur/ and sharp/.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
) -> None:
    """Speed of scoring with six metrics beside a plain loop that calls pyiqa metric by metric."""
    with one_line_errors():
        from tfmlc.evaluation.bench.scores import bench_scores
        from tfmlc.evaluation.provenance import write_result

        costs = write_result(output, bench_scores(dataset))
        for row in costs["rows"]:
            typer.echo(f"{row['models']} scored together: {row['times_faster']:.2f} times as fast as the plain loop")
