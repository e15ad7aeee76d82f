"""Deblur photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tfmlc.cli.tree import (
    Device,
    app,
    in_words,
    one_line_errors,
    say,
)

if TYPE_CHECKING:
    from tfmlc.deblur.batch import Batch, Outcome

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Images and folders.", show_default=False)]


@app.command()
def deblur(
    inputs: Inputs,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File or folder for the results.")] = None,
    model: Annotated[str, typer.Option(help="A model's name (see tfmlc models list) or a weights file.")] = "default",
    tile: Annotated[int | None, typer.Option(help="Side of a tile in px; 0: whole image. Default: what fits.")] = None,
    device: Device = "auto",
    precision: Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="auto: bf16 where it is fast.")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="Also write before and after side by side.")] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Overwrite the images themselves; none is restored twice.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Folders: also make anew what an earlier run made the same way.")
    ] = False,
    yes_large: Annotated[
        bool, typer.Option("--yes-large", help="Also photos that seem too large for the free memory.")
    ] = False,
) -> None:
    """Sharpen blurry photos: files, or folders with everything in them. A run that was stopped goes on."""
    with one_line_errors():
        from tfmlc.deblur.batch import plan_batch, run_batch
        from tfmlc.errors import UserError

        if in_place == (output is not None):
            both = ", not both" if in_place else ""
            raise UserError(
                f"say where the results go with -o, or overwrite the images themselves with --in-place{both}"
            )
        if in_place and again:
            raise UserError(
                "--again does not go with --in-place: what was restored has no original, it would be restored twice"
            )
        batch = plan_batch(inputs, output, in_place=in_place, compare=compare)
        from tfmlc.deblur import Deblurrer

        deblurrer = Deblurrer.load(model, device=device, precision=precision, tile_px=tile)
        outcomes: list[Outcome] = []
        for outcome in run_batch(deblurrer, batch, again=again, allow_large=yes_large):
            outcomes.append(outcome)
            if line := _described(outcome, batch):
                say(line)
        for line in _summary(outcomes, batch):
            say(line)
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        if failed or batch.errors:
            raise typer.Exit(1 if batch.is_folder_run else 2)


def _described(outcome: Outcome, batch: Batch) -> str:
    """One line on what became of a photo; none where it is only counted."""
    from tfmlc.deblur.sharpness import edges

    job = outcome.job
    if outcome.error is not None:
        return f"tfmlc: {in_words(outcome.error, outcome.option)}"
    if outcome.done_before:
        return "" if batch.is_folder_run else f"{job.source} was left as it was: it was restored before"
    notes = f" ({'; '.join(outcome.notes)})" if outcome.notes else ""
    return f"{job.source} -> {job.target}  {edges(outcome.before, outcome.after)}{notes}"


def _summary(outcomes: Sequence[Outcome], batch: Batch) -> list[str]:
    """What was done before, skipped and failed in a folder run."""
    if not batch.is_folder_run:
        return []
    from tfmlc.io.images import skipped_line

    total = len(batch.jobs)
    failed = [in_words(outcome.error, outcome.option) for outcome in outcomes if outcome.error is not None]
    before = sum(outcome.done_before for outcome in outcomes)
    lines = [f"{total - before - len(failed)} of {total} images restored"]
    if before:
        why = (
            "restored before and left as they were"
            if batch.in_place
            else "there already, made by the same model and settings (--again makes them anew)"
        )
        lines.append(f"{before} of {total} images were {why}")
    if skipped := skipped_line(batch.skipped):
        lines.append(skipped)
    if failed:
        lines += [f"tfmlc: {len(failed)} of {total} images failed:", *(f"  {error}" for error in failed)]
    return [*lines, *(f"tfmlc: {error}" for error in batch.errors)]
