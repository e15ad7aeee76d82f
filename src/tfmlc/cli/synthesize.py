"""Create training data: pairs or triplets of blurry and sharp images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.tree import Ray, RayCores, Seed, WithRay, check_unlocked, find_cluster, one_line_errors, show, synthesize

Values = dict[str, object]
Images = Annotated[
    Literal["photos", "frames"],
    typer.Option("--images", help="Whether the images in a folder are photos or the frames of a video."),
]
Strength = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="Photos: range of the motion, in px.")
]
Exposure = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="LOW HIGH", help="Photos: range of the exposure time, in periods of hand tremor."),
]
Patches = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="LOW HIGH", help="Photos: range of the number of objects that move by themselves."),
]
PerPhoto = Annotated[int, typer.Option(min=1, help="Photos: number of blurry versions per photo.")]
MinFrames = Annotated[int | None, typer.Option(min=2, help="Videos: minimum number of frames of a window.")]
MinDisplacement = Annotated[float | None, typer.Option(min=0, help="Videos: minimum motion of a window, in px.")]
Interpolate = Annotated[
    int, typer.Option(min=1, help="Videos: factor by which optical flow increases the frame rate; 8 for 30 fps.")
]
Scale = Annotated[float, typer.Option(help="Videos: factor by which the frames are scaled first.")]
OnBad = Annotated[Literal["stop", "skip"], typer.Option(help="Videos: what to do at a frame that cannot be read.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Number of processes. Default: one per core.")]
Videos = Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, photos and folders.", show_default=False)]
SetFolder = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for the images, the manifest and the contact sheet (sheet.png).")
]


@synthesize.command("pairs", cls=WithRay)
def synthesize_pairs(
    inputs: Videos,
    output: SetFolder,
    images: Images = "photos",
    per_photo: PerPhoto = 1,
    strength_px: Strength = None,
    exposure: Exposure = None,
    patches: Patches = None,
    light: Annotated[
        Literal["stored", "linear", "mixed"], typer.Option(help="Whether to average stored values or linear light.")
    ] = "stored",
    jpeg: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="LOW HIGH", help="Photos: range of the JPEG quality. Default: no compression."),
    ] = None,
    min_frames: MinFrames = None,
    min_displacement_px: MinDisplacement = None,
    interpolate: Interpolate = 1,
    scale: Scale = 1.0,
    on_bad: OnBad = "stop",
    workers: Workers = None,
    seed: Seed = 0,
    ray: Ray = None,
    ray_cores: RayCores = None,
) -> None:
    """Create pairs of blurry and sharp images, in folders blur/ and sharp/.

    Frames of videos are averaged. Photos are blurred by simulated camera motion.
    """
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
    _synthesize(inputs, output, {**common, "blur": blur, "video": video}, workers, (ray, ray_cores))


@synthesize.command("triplets", cls=WithRay)
def synthesize_triplets(
    inputs: Videos,
    output: SetFolder,
    images: Images = "frames",
    levels: Annotated[int, typer.Option(min=1, help="Number of blur levels; 2 means weak and strong.")] = 2,
    per_photo: PerPhoto = 1,
    strength_px: Strength = None,
    exposure: Exposure = None,
    patches: Patches = None,
    light: Annotated[
        Literal["stored", "linear"], typer.Option(help="Whether to average stored values or linear light.")
    ] = "stored",
    min_frames: MinFrames = None,
    min_displacement_px: MinDisplacement = None,
    interpolate: Interpolate = 1,
    scale: Scale = 1.0,
    on_bad: OnBad = "stop",
    workers: Workers = None,
    seed: Seed = 0,
    ray: Ray = None,
    ray_cores: RayCores = None,
) -> None:
    """Create blur triplets for tfmlc adapt: each sharp image with a weakly and a strongly blurred version."""
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
    _synthesize(inputs, output, {**common, "blur": blur, "video": video}, workers, (ray, ray_cores))


def _given(**options: object) -> Values:
    """Return the options that were given; the settings have defaults for the others."""
    return {name: value for name, value in options.items() if value is not None}


def _synthesize(
    inputs: list[Path], output: Path, config: Values, workers: int | None, ray: tuple[str | None, int | None]
) -> None:
    with one_line_errors():
        check_unlocked(output)
        from tfmlc.config import checked
        from tfmlc.data.synthesis.sets import SetConfig
        from tfmlc.data.synthesis.sets import synthesize as run
        from tfmlc.errors import UserError

        cluster = find_cluster(*ray)
        if cluster and workers:
            raise UserError("--workers cannot be used with --ray, which takes all workers of the cluster")
        summary = run(inputs, output, checked(SetConfig, config), workers=cluster or workers)
        show(f"{summary.made} {config['kind']} made, {summary.kept} existed already: {output}")
        show(*(f"tfmlc: {line}" for line in (*summary.remarks, *summary.errors)), err=True)
        if summary.errors:
            raise typer.Exit(1)
