"""Measure how blurred photos and videos are, and where."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfmlc.cli.tree import app, one_line_errors, say, show
from tfmlc.deblur.limits import BLURRY_PX

if TYPE_CHECKING:
    from tfmlc.deblur.measuring import Measured

Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Photos, videos and folders.", show_default=False)]
Maps = Annotated[Path | None, typer.Option("--map", help="Folder for maps of where each file is blurred, as PNG.")]
Table = Annotated[Path | None, typer.Option("-o", "--output", help="File for the scores, as CSV.")]
BlurryPx = Annotated[float, typer.Option(min=0, help="Blurred is what has this score or more, in px of motion.")]
YesLarge = Annotated[
    bool, typer.Option("--yes-large", help="Also read photos that seem too large for the free memory.")
]


@app.command()
def blurriness(
    inputs: Inputs,
    maps: Maps = None,
    output: Table = None,
    blurry_px: BlurryPx = BLURRY_PX,
    yes_large: YesLarge = False,
) -> None:
    """Measure how blurred photos and videos are, in px of motion; the most blurred is printed first."""
    with one_line_errors():
        from tfmlc.deblur.measuring import measure_file, score_file
        from tfmlc.deblur.planning import search_inputs
        from tfmlc.errors import UserError, in_one_line
        from tfmlc.io.files import write_atomically
        from tfmlc.io.images import skipped_line
        from tfmlc.runtime.progress import Progress

        if output is not None and output.suffix.lower() != ".csv":  # it could be a photo that -o was to follow
            raise UserError(f"cannot write the scores {output}: -o needs a name that ends in .csv")
        found = search_inputs(inputs)
        names = [name for _, name in found.images]
        if maps is not None and len(set(names)) < len(names):
            raise UserError("two files would get the same map: give the folder that has both")
        scores: dict[Path, float] = {}
        failed = [*found.errors]
        with Progress("files", len(found.images)) as progress:
            for path, name in found.images:
                try:
                    if maps is None:
                        scores[path] = score_file(path, allow_large=yes_large).score_px
                    else:
                        measured = measure_file(path, allow_large=yes_large)
                        scores[path] = measured.score_px
                        _write_map(maps / name.with_name(f"{name.name}.png"), measured)
                except Exception as error:  # decoders raise many types; the other files continue
                    failed.append(in_one_line(error, path))
                progress.advance()
        rows = sorted(scores.items(), key=lambda row: -row[1])
        for path, score in rows:
            show(f"{score:5.1f} px  {'blurred' if score >= blurry_px else 'sharp  '}  {path}")
        if output is not None:
            write_atomically(output, _as_csv(rows, blurry_px))
        for line in (skipped_line(found.skipped), *(f"tfmlc: {error}" for error in failed)):
            if line:
                say(line)
        if failed:
            raise typer.Exit(1 if len(found.images) > 1 else 2)


def _as_csv(rows: list[tuple[Path, float]], blurry_px: float) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "score_px", "blurred"))
    writer.writerows((path, f"{score:.2f}", str(score >= blurry_px).lower()) for path, score in rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _write_map(path: Path, measured: Measured) -> None:
    from tfmlc.deblur.marks import COMPARISON
    from tfmlc.deblur.measuring import drawn
    from tfmlc.deblur.planning import is_free
    from tfmlc.errors import UserError
    from tfmlc.io.images import Image, write_image

    if not is_free(path):
        raise UserError(f"{path} is not a map and would be overwritten: give another folder with --map")
    write_image(path, Image(drawn(measured), restored=COMPARISON))
