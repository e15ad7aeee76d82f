"""Deblur photos and videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    in_words,
    one_line_errors,
    say,
)
from tfmlc.deblur.limits import BLURRY_PX

if TYPE_CHECKING:
    from tfmlc.deblur.batch import Batch, Outcome

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Photos, videos and folders.", show_default=False)]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File or folder for the results.")]
Model = Annotated[str, typer.Option(help="Name of a model (see tfmlc models list) or a weights file.")]
Strength = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Between default-psnr (0: fidelity) and default-perceptual (1: looks)."),
]
Best = Annotated[
    bool, typer.Option("--best", help="Higher PSNR, softer: the mean of eight orientations, about eight times as slow.")
]
Compare = Annotated[bool, typer.Option("--compare", help="Also write images with before and after side by side.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Overwrite the files. A file is never restored twice.")]
Again = Annotated[bool, typer.Option("--again", help="In folders, also restore files whose result exists already.")]
YesLarge = Annotated[
    bool, typer.Option("--yes-large", help="Also read photos that seem too large for the free memory.")
]
Codec = Annotated[
    Literal["auto", "h264", "hevc", "vp9", "av1"], typer.Option(help="Videos: the codec; auto takes that of the video.")
]
Quality = Annotated[
    int | None, typer.Option(help="Videos: constant rate factor, lower is better. Default: looks lossless.")
]
Temporal = Annotated[
    float, typer.Option(min=0, max=1, help="Videos and frames: blend of neighbours against flicker; 0 is off.")
]
OnlyBlurry = Annotated[
    bool, typer.Option("--only-blurry", help="Copy what is not blurred unchanged (see tfmlc blurriness).")
]
BlurryPx = Annotated[
    float | None,
    typer.Option(
        min=0, help=f"With --only-blurry: the least score of what is blurred, in px of motion. Default: {BLURRY_PX:g}."
    ),
]
Guard = Annotated[bool, typer.Option("--guard/--no-guard", help="Keep files whose result has a fault, such as a mesh.")]
Frames = Annotated[bool, typer.Option("--frames", help="The images in a folder are the frames of a video.")]
KEPT = {"fault": "their results had faults", "not blurred": "they are not blurred"}


@app.command(cls=WithRay)
def deblur(
    inputs: Inputs,
    output: Output = None,
    model: Model = "default",
    strength: Strength = None,
    tile: Tile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    best: Best = False,
    compare: Compare = False,
    in_place: InPlace = False,
    only_blurry: OnlyBlurry = False,
    blurry_px: BlurryPx = None,
    guard: Guard = True,
    again: Again = False,
    yes_large: YesLarge = False,
    codec: Codec = "auto",
    quality: Quality = None,
    temporal: Temporal = 0.5,
    frames: Frames = False,
    ray: Ray = None,
    ray_cores: RayCores = None,
) -> None:
    """Deblur photos and videos, or all of them in folders.

    Run the same command again to continue an interrupted run.
    """
    with one_line_errors():
        from tfmlc.deblur.batch import plan_batch, run_batch

        _check_options(output, in_place=in_place, again=again, frames_by_ray=frames and ray is not None)
        least_px = _least_px(blurry_px, only_blurry=only_blurry)
        batch = plan_batch(inputs, output, in_place=in_place, compare=compare)
        from tfmlc.deblur import VideoSettings
        from tfmlc.deblur.clustered import Make, run_on_cluster
        from tfmlc.deblur.strength import network_of

        make = Make(network_of(model, strength), device, precision, tile, best, guard)
        video = VideoSettings(codec, quality, temporal)
        if cluster := find_cluster(ray, ray_cores):
            run = partial(run_on_cluster, cluster, make, batch)
        else:
            run = partial(run_batch, make(), batch, as_frames=frames)
        outcomes: list[Outcome] = []
        for outcome in run(again=again, allow_large=yes_large, video=video, least_px=least_px):
            outcomes.append(outcome)
            if line := _described(outcome, batch):
                say(line)
        _finish(outcomes, batch)


def _finish(outcomes: Sequence[Outcome], batch: Batch) -> None:
    """Print the summary; exit with 1 if a file of a folder failed, and with 2 if a single file did."""
    for line in _summary(outcomes, batch):
        say(line)
    if batch.errors or any(outcome.error is not None for outcome in outcomes):
        raise typer.Exit(1 if batch.is_folder_run else 2)


def _check_options(output: Path | None, *, in_place: bool, again: bool, frames_by_ray: bool) -> None:
    """Raise UserError if options do not fit together."""
    from tfmlc.errors import UserError

    if in_place == (output is not None):
        both = ", not both" if in_place else ""
        raise UserError(f"give an output with -o, or overwrite the files with --in-place{both}")
    if in_place and again:
        raise UserError("--again cannot be used with --in-place: the originals of restored files are gone")
    if frames_by_ray:
        raise UserError("--frames cannot be used with --ray: each frame needs its neighbours")


def _least_px(blurry_px: float | None, *, only_blurry: bool) -> float:
    """Return the score from which on files are restored; 0 restores all."""
    from tfmlc.errors import UserError

    if only_blurry:
        return BLURRY_PX if blurry_px is None else blurry_px
    if blurry_px is not None:
        raise UserError("--blurry-px needs --only-blurry: without it all files are restored")
    return 0.0


def _described(outcome: Outcome, batch: Batch) -> str:
    """Return one line about the outcome of a photo; empty if it is only counted."""
    from tfmlc.deblur.sharpness import edges

    job = outcome.job
    if outcome.error is not None:
        return f"tfmlc: {in_words(outcome.error, outcome.option)}"
    if outcome.done_before:
        return "" if batch.is_folder_run else f"{job.source} was not changed: it was restored before"
    if outcome.kept:
        why = "; ".join(outcome.notes)
        return f"{job.source} was not changed: {why}" if batch.in_place else f"{job.target} is a copy: {why}"
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    return f"{job.source} -> {job.target}  {edges(outcome.before, outcome.after)}{notes}"


def _summary(outcomes: Sequence[Outcome], batch: Batch) -> list[str]:
    """Return the summary of a folder run: what was restored, done before, skipped and failed."""
    if not batch.is_folder_run:
        return []
    from tfmlc.io.images import skipped_line

    total = len(batch.jobs)
    what = "files" if any(job.is_video for job in batch.jobs) else "images"
    position = {job.source: number for number, job in enumerate(batch.jobs)}  # workers finish in any order
    outcomes = sorted(outcomes, key=lambda outcome: position[outcome.job.source])
    failed = [in_words(outcome.error, outcome.option) for outcome in outcomes if outcome.error is not None]
    before = sum(outcome.done_before for outcome in outcomes)
    kept = Counter(outcome.kept for outcome in outcomes if outcome.kept)
    lines = [f"{total - before - len(failed) - kept.total()} of {total} {what} restored"]
    lines += [f"{count} of {total} {what} kept as they are: {KEPT[reason]}" for reason, count in sorted(kept.items())]
    if before:
        why = (
            "were restored before and not changed"
            if batch.in_place
            else "have a result of the same model and settings already (--again restores them again)"
        )
        lines.append(f"{before} of {total} {what} {why}")
    if skipped := skipped_line(batch.skipped):
        lines.append(skipped)
    if failed:
        lines += [f"tfmlc: {len(failed)} of {total} {what} failed:", *(f"  {error}" for error in failed)]
    return [*lines, *(f"tfmlc: {error}" for error in batch.errors)]
