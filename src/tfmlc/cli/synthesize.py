"""Make blurry and sharp images to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.tree import Seed, check_unlocked, one_line_errors, synthesize

Values = dict[str, object]
Images = Annotated[
    Literal["photos", "frames"], typer.Option("--images", "--pictures", help="What the images in a folder are.")
]
Strength = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Photos: least and most motion, in px.")
]
Exposure = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Photos: exposure time, in periods of tremor.")
]
Patches = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="LOW HIGH", help="Photos: fewest and most objects moving on their own."),
]
PerPhoto = Annotated[int, typer.Option(min=1, help="Photos: blurry versions of each.")]
MinFrames = Annotated[int | None, typer.Option(min=2, help="Videos: least frames of a window.")]
MinDisplacement = Annotated[float | None, typer.Option(min=0, help="Videos: least motion of a window, in px.")]
Interpolate = Annotated[int, typer.Option(min=1, help="Videos: frames made of each by optical flow; 8 for 30 fps.")]
Scale = Annotated[float, typer.Option(help="Videos: shrink the frames by this factor first.")]
OnBad = Annotated[Literal["stop", "skip"], typer.Option(help="Videos: at a frame that cannot be read.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.")]
Videos = Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, photos, and folders.", show_default=False)]
SetFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder for the set, its manifest and sheet.png.")]


@synthesize.command("pairs")
def synthesize_pairs(
    inputs: Videos,
    output: SetFolder,
    images: Images = "photos",
    per_photo: PerPhoto = 1,
    strength_px: Strength = None,
    exposure: Exposure = None,
    patches: Patches = None,
    light: Annotated[
        Literal["stored", "linear", "mixed"], typer.Option(help="What is averaged: stored values or linear light.")
    ] = "stored",
    jpeg: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="LOW HIGH", help="Photos: lowest and highest JPEG quality. Default: no JPEG."),
    ] = None,
    min_frames: MinFrames = None,
    min_displacement_px: MinDisplacement = None,
    interpolate: Interpolate = 1,
    scale: Scale = 1.0,
    on_bad: OnBad = "stop",
    workers: Workers = None,
    seed: Seed = 0,
) -> None:
    """Pairs, in GoPro's layout: videos averaged over their motion, sharp photos by simulated camera shake."""
    blur = _given(strength_px=strength_px, exposure=exposure, moving_patches=patches, light=light, jpeg_quality=jpeg)
    video = _given(
        min_frames=min_frames,
        min_displacement_px=min_displacement_px,
        interpolate=interpolate,
        scale=scale,
        on_bad=on_bad,
        light="stored" if light == "mixed" else light,
    )
    common: Values = {"kind": "pairs", "images": images, "per_photo": per_photo, "seed": seed}
    _synthesize(inputs, output, {**common, "blur": blur, "video": video}, workers)


@synthesize.command("triplets")
def synthesize_triplets(
    inputs: Videos,
    output: SetFolder,
    images: Images = "frames",
    levels: Annotated[int, typer.Option(min=1, help="Strengths of blur; 2: weak and strong.")] = 2,
    per_photo: PerPhoto = 1,
    strength_px: Strength = None,
    exposure: Exposure = None,
    patches: Patches = None,
    light: Annotated[
        Literal["stored", "linear"], typer.Option(help="What is averaged: stored values or linear light.")
    ] = "stored",
    min_frames: MinFrames = None,
    min_displacement_px: MinDisplacement = None,
    interpolate: Interpolate = 1,
    scale: Scale = 1.0,
    on_bad: OnBad = "stop",
    workers: Workers = None,
    seed: Seed = 0,
) -> None:
    """Triplets for tfmlc adapt: each sharp image with blur of known order of strength."""
    blur = _given(strength_px=strength_px, exposure=exposure, moving_patches=patches, light=light)
    video = _given(
        min_frames=min_frames,
        min_displacement_px=min_displacement_px,
        interpolate=interpolate,
        scale=scale,
        on_bad=on_bad,
        light=light,
        levels=levels,
    )
    common: Values = {"kind": "triplets", "images": images, "per_photo": per_photo, "seed": seed}
    _synthesize(inputs, output, {**common, "blur": blur, "video": video}, workers)


def _given(**options: object) -> Values:
    """The options that were given; for the others the settings have defaults of their own."""
    return {name: value for name, value in options.items() if value is not None}


def _synthesize(inputs: list[Path], output: Path, config: Values, workers: int | None) -> None:
    with one_line_errors():
        check_unlocked(output)
        from tfmlc.config import checked
        from tfmlc.data.synthesis.sets import SetConfig
        from tfmlc.data.synthesis.sets import synthesize as run

        summary = run(inputs, output, checked(SetConfig, config), workers=workers)
        typer.echo(f"{summary.made} {config['kind']} made, {summary.kept} were there already: {output}")
        for line in [*summary.remarks, *summary.errors]:
            typer.echo(f"tfmlc: {line}", err=True)
        if summary.errors:
            raise typer.Exit(1)
