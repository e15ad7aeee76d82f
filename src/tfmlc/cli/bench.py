"""Measure speed and memory on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tfmlc.cli.tree import bench, one_line_errors, show


def _writable(output: Path) -> Path:
    """Find out before minutes of measuring whether the results can be written."""
    with one_line_errors():
        from tfmlc.errors import UserError
        from tfmlc.io.files import check_writable

        if output.is_dir():
            raise UserError(f"{output} is a folder: name a JSON file")
        if output.suffix.lower() != ".json":
            raise UserError(f"cannot write {output}: the name must end in .json")
        check_writable(output.parent)
    return output


Results = Annotated[Path, typer.Option("-o", "--output", help="JSON file for the results.", callback=_writable)]


def _written(output: Path, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Write the results again after each row, so that a run that is stopped leaves what it has measured."""
    from tfmlc.results import write_result

    measured: list[dict[str, Any]] = []
    for row in rows:
        measured.append(row)
        write_result(output, {"rows": measured})
        yield row


@bench.command("loss")
def bench_loss(
    output: Results,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs; the fastest counts.")] = 5,
) -> None:
    """Measure time and memory of the losses in a training step.

    They are compared with the paper's released code, LPIPS and DISTS.
    """
    with one_line_errors():
        from tfmlc.bench.loss import bench_loss as run
        from tfmlc.bench.loss import summary
        from tfmlc.results import write_result

        rows = run(repeats)
        ratios = summary(rows)
        write_result(output, {"rows": rows, "ratios": ratios})
        for row in rows:
            values = row.get("unavailable") or f"{row['seconds']:8.3f} s {row['extra_mib']:8.0f} MiB"
            show(f"{row['loss']:<28} {row['precision']}  {values}")
        for name, ratio in ratios.items():
            show(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in ratio.items()))


@bench.command("step")
def bench_step(
    output: Results,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs; the fastest counts.")] = 3,
    count: Annotated[
        bool, typer.Option("--count", help="Count operations and memory instead, which do not depend on the machine.")
    ] = False,
) -> None:
    """Measure the time of a finetuning step of HINet and MPRNet lite with each loss."""
    with one_line_errors():
        from tfmlc.bench.step import bench_steps, count_steps
        from tfmlc.results import write_result

        if count:
            rows = count_steps()
            write_result(output, {"rows": rows})
            for row in rows:
                cost = f"{row['tflop']:8.3f} TFLOP  {row['image_mib']:6.0f} MiB + {row['fixed_mib']:6.0f} MiB"
                show(f"{row['network']:<16} {row['loss']:<20} {cost}")
            return
        rows = bench_steps(repeats)
        write_result(output, {"rows": rows})
        for row in rows:
            show(f"{row['network']:<16} {row['loss']:<16} {row['seconds']:8.3f} s  x {row['relative']:.2f}")


@bench.command("synthesize")
def bench_synthesize(
    video: Annotated[Path, typer.Argument(help="A video file.")],
    output: Results,
) -> None:
    """Measure the speed of making triplets, relative to decoding the video, and the memory by window length."""
    with one_line_errors():
        from tfmlc.bench.synthesize import bench_synthesis
        from tfmlc.results import write_result

        costs = bench_synthesis(video)
        write_result(output, costs)
        for row in costs["rows"]:
            processes = f"{row['processes']} process{'es' if row['processes'] > 1 else ''}"
            show(
                f"{row['source']}, {processes}: {row['relative_speed']:.2f} times the speed of decoding, "
                f"{row['of_tracking']:.2f} times that of decoding and tracking"
            )
        memory = ", ".join(f"{mib} MiB (windows of {frames} frames)" for frames, mib in costs["extra_mib"].items())
        show(f"extra memory: {memory}")


@bench.command("deblur")
def bench_deblur(
    output: Results,
    models: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", help="A network, a model or a weights file; can be repeated. All if not given."),
    ] = None,
) -> None:
    """Measure time and memory of deblurring, relative to the official code of each network."""
    with one_line_errors():
        from tfmlc.bench.deblur import MODELS
        from tfmlc.bench.deblur import bench_deblur as run

        for row in list(_written(output, run(models or MODELS))):
            show(
                f"{row['model']:<12} {row['image']:<10} {row['way']:<8} {row['seconds']:8.2f} s "
                f"{row['extra_mib']:7.0f} MiB  x {row['times_faster']:.2f}"
            )


@bench.command("evaluate")
def bench_evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with blur/ and sharp/.")],
    output: Results,
) -> None:
    """Measure the speed of scoring with six metrics, relative to a plain loop over pyiqa's metrics."""
    with one_line_errors():
        from tfmlc.bench.evaluate import bench_scores
        from tfmlc.results import write_result

        costs = write_result(output, bench_scores(dataset))
        for row in costs["rows"]:
            speed = f"{row['times_faster']:.2f} times as fast as the plain loop"
            show(f"{row['models']} models scored together: {speed}")


@bench.command("ray")
def bench_ray(
    output: Results,
    photos: Annotated[int, typer.Option(min=8, help="Number of photos.")] = 20,
    items: Annotated[int, typer.Option(min=8, help="Number of items for which nothing is done.")] = 1000,
) -> None:
    """Measure deblurring by the workers of a Ray cluster on this machine, relative to plain processes."""
    with one_line_errors():
        from tfmlc.bench.ray import bench_ray as run
        from tfmlc.results import write_result

        costs = write_result(output, run(photos, items))
        for row in costs["rows"]:
            show(
                f"{row['by']:<10} {row['photos_per_s']:8.2f} photos/s, {row['cpu_s_per_photo']:6.2f} processor s each, "
                f"start {row['start_s']:6.1f} s, {row['overhead_ms']:7.2f} ms per file without work"
            )


@bench.command("scaling")
def bench_scaling(
    output: Results,
) -> None:
    """Simulate how long training on 1 to 64 GPUs waits for the exchange of gradients."""
    with one_line_errors():
        from tfmlc.bench.scaling import bench_scaling as run
        from tfmlc.results import write_result

        for row in write_result(output, run())["rows"]:
            case = f"{row['network']:<16} {row['precision']} {row['images']} images {row['scheme']:<6}"
            show(f"{case} {row['gpus']:3d} GPUs {row['step_ms']:9.1f} ms  efficiency {row['efficiency']:.3f}")


@bench.command("growth")
def bench_growth(
    output: Results,
) -> None:
    """Measure how time and memory grow with megapixels, frames, files and loading processes; a plot goes beside it."""
    with one_line_errors():
        from tfmlc.bench.growth import bench_growth as run
        from tfmlc.evaluation.plots import draw_growth

        rows = list(_written(output, run()))
        draw_growth(output.with_suffix(".png"), rows)
        for row in rows:
            processor = f"{row['processor_s']:9.1f} processor s" if "processor_s" in row else ""
            show(
                f"{row['what']:<22} {row['number']:>8g} {row['seconds']:9.1f} s {row['peak_mib']:6.0f} MiB {processor}"
            )


@bench.command("start")
def bench_start(
    output: Results,
    repeats: Annotated[int, typer.Option(min=1, help="Number of runs; the fastest counts.")] = 5,
) -> None:
    """Measure how long the program takes to start and to restore a first photo."""
    with one_line_errors():
        from tfmlc.bench.start import bench_start as run
        from tfmlc.results import write_result

        for row in write_result(output, {"rows": run(repeats)})["rows"]:
            show(f"{row['what']:<20} {row['seconds']:7.2f} s")
