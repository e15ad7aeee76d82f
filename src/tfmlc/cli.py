"""The command line: one short function a verb, which imports its step only when called."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="tfmlc",
    help="Sharper photos, blur-aware losses, and scores that hold.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
synthesize = typer.Typer(help="Make blurry and sharp pictures to train on.", no_args_is_help=True)
models = typer.Typer(help="The models there are.", no_args_is_help=True)
bench = typer.Typer(help="Measure costs on this machine.", no_args_is_help=True)
reproduce = typer.Typer(help="Studies and tables, from data to result.", no_args_is_help=True)
app.add_typer(reproduce, name="reproduce")
app.add_typer(bench, name="bench")
app.add_typer(synthesize, name="synthesize")
app.add_typer(models, name="models")

Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Device = Annotated[str, typer.Option(help="auto (cuda, mps, cpu), or a torch device name.")]
Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures and folders.", show_default=False)]


@contextmanager
def one_line_errors() -> Generator[None]:
    """A user's error is printed as one line, exit status 2; an interruption leaves with 130."""
    from tfmlc.errors import UserError

    try:
        yield
    except UserError as error:
        typer.echo(f"tfmlc: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo("tfmlc: interrupted; what was finished is kept", err=True)
        raise typer.Exit(130) from None


@app.command()
def deblur(
    inputs: Inputs,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File or folder for the results.")] = None,
    model: Annotated[str, typer.Option(help="A model's name (see tfmlc models list) or a weights file.")] = "default",
    tile: Annotated[
        int | None, typer.Option(help="Side of a tile in px; 0: whole picture. Default: what fits.")
    ] = None,
    device: Device = "auto",
    precision: Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="auto: bf16 where it is fast.")] = "auto",
    compare: Annotated[bool, typer.Option("--compare", help="Also write before and after side by side.")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Overwrite the pictures themselves.")] = False,
) -> None:
    """Sharpen blurry photos: files, or folders with everything in them."""
    with one_line_errors():
        from tfmlc.deblur.files import plan_jobs

        jobs = plan_jobs(inputs, output, in_place=in_place, compare=compare)
        from tfmlc.deblur import Deblurrer
        from tfmlc.deblur.show import run_jobs

        deblurrer = Deblurrer.load(model, device=device, precision=precision, tile_px=tile)
        failed = run_jobs(deblurrer, jobs)
        if failed:
            raise typer.Exit(2 if len(jobs) == 1 else 1)


Values = dict[str, object]
Pictures = Annotated[Literal["photos", "frames"], typer.Option(help="What the pictures in a folder are.")]
Strength = Annotated[tuple[float, float] | None, typer.Option(help="Photos: least and most motion, in px.")]
Exposure = Annotated[tuple[float, float] | None, typer.Option(help="Photos: exposure time, in periods of tremor.")]
Patches = Annotated[tuple[int, int] | None, typer.Option(help="Photos: fewest and most objects moving on their own.")]
PerPhoto = Annotated[int, typer.Option(min=1, help="Photos: blurry versions of each.")]
MinFrames = Annotated[int | None, typer.Option(min=2, help="Films: least frames of a window.")]
MinDisplacement = Annotated[float | None, typer.Option(min=0, help="Films: least motion of a window, in px.")]
Interpolate = Annotated[int, typer.Option(min=1, help="Films: frames made of each one, by optical flow; 8 for 30 fps.")]
Scale = Annotated[float, typer.Option(help="Films: shrink the frames by this factor first.")]
OnBad = Annotated[Literal["stop", "skip"], typer.Option(help="Films: at a frame that cannot be read.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.")]
Films = Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, photos, and folders.", show_default=False)]
SetFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder for the set, its manifest and sheet.png.")]


@synthesize.command("pairs")
def synthesize_pairs(
    inputs: Films,
    output: SetFolder,
    pictures: Pictures = "photos",
    per_photo: PerPhoto = 1,
    strength_px: Strength = None,
    exposure: Exposure = None,
    patches: Patches = None,
    light: Annotated[
        Literal["stored", "linear", "mixed"], typer.Option(help="What is averaged: stored values or linear light.")
    ] = "stored",
    jpeg: Annotated[
        tuple[int, int] | None, typer.Option(help="Photos: lowest and highest JPEG quality. Default: no JPEG.")
    ] = None,
    min_frames: MinFrames = None,
    min_displacement_px: MinDisplacement = None,
    interpolate: Interpolate = 1,
    scale: Scale = 1.0,
    on_bad: OnBad = "stop",
    workers: Workers = None,
    seed: Seed = 0,
) -> None:
    """Pairs, in GoPro's layout: films averaged over their motion, sharp photos by simulated camera shake."""
    blur = _given(strength_px=strength_px, exposure=exposure, moving_patches=patches, light=light, jpeg_quality=jpeg)
    film = _given(
        min_frames=min_frames,
        min_displacement_px=min_displacement_px,
        interpolate=interpolate,
        scale=scale,
        on_bad=on_bad,
        light="stored" if light == "mixed" else light,
    )
    _synthesize("pairs", inputs, output, pictures, blur, film, per_photo, seed, workers)


@synthesize.command("triplets")
def synthesize_triplets(
    inputs: Films,
    output: SetFolder,
    pictures: Pictures = "frames",
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
    """Triplets for tfmlc adapt: each sharp picture with blur of known order of strength."""
    blur = _given(strength_px=strength_px, exposure=exposure, moving_patches=patches, light=light)
    film = _given(
        min_frames=min_frames,
        min_displacement_px=min_displacement_px,
        interpolate=interpolate,
        scale=scale,
        on_bad=on_bad,
        light=light,
        levels=levels,
    )
    _synthesize("triplets", inputs, output, pictures, blur, film, per_photo, seed, workers)


def _given(**options: object) -> Values:
    """The options that were given; for the others the settings have defaults of their own."""
    return {name: value for name, value in options.items() if value is not None}


def _synthesize(
    kind: Literal["pairs", "triplets"],
    inputs: list[Path],
    output: Path,
    pictures: Literal["photos", "frames"],
    blur: Values,
    film: Values,
    per_photo: int,
    seed: int,
    workers: int | None,
) -> None:
    with one_line_errors():
        from tfmlc.config import checked
        from tfmlc.data.blur import BlurConfig
        from tfmlc.data.films import FilmConfig
        from tfmlc.data.synthesis import synthesize as run

        summary = run(
            kind,
            inputs,
            output,
            pictures=pictures,
            blur=checked(BlurConfig, blur),
            film=checked(FilmConfig, film),
            per_photo=per_photo,
            seed=seed,
            workers=workers,
        )
        typer.echo(f"{summary.made} {kind} made, {summary.kept} were there already: {output}")
        for line in [*summary.remarks, *summary.errors]:
            typer.echo(f"tfmlc: {line}", err=True)
        if summary.errors:
            raise typer.Exit(1)


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
    with one_line_errors():
        from tfmlc.training.presets import load_recipe, scale_to

        config = load_recipe(recipe, settings or [], smoke=smoke)
        if batch is not None:
            config, changes = scale_to(config, batch)
            typer.echo("\n".join(changes), err=True)
        if print_config:
            typer.echo(config.to_yaml())
            return
        folder = output or Path("runs") / f"{Path(recipe).stem}{'-smoke' if smoke else ''}"
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


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model's name, a weights file, or 'blurry' to score the input itself.")
    ],
    dataset: Annotated[Path, typer.Argument(help="Folder with blur/ and sharp/.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the scores.")],
    metrics: Annotated[
        str, typer.Option(help="Comma-separated: psnr, ssim_3d, ssim_2d, lpips, dists, niqe, brisque.")
    ] = "psnr",
    device: Device = "auto",
) -> None:
    """Score a model on pairs of blurry and sharp pictures."""
    with one_line_errors():
        from tfmlc.evaluation.evaluate import evaluate as run

        means = run({model: output}, dataset, metrics=metrics.split(","), device=device)[model]
        typer.echo(f"{model} on {dataset.name}: " + "  ".join(f"{name} {value:.4f}" for name, value in means.items()))


@reproduce.command("study")
def reproduce_study(
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="photos=[DIR] and sets to score on.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scores.")] = Path("results/study"),
    work: Annotated[Path, typer.Option(help="Folder for pairs, adapters and runs.")] = Path("runs/study"),
) -> None:
    """Finetune under each loss with equal steps and data, score, and compare; a study that was stopped goes on."""
    with one_line_errors():
        from tfmlc.config import checked, override
        from tfmlc.reproduce.study import StudyConfig
        from tfmlc.reproduce.study import study as run

        typer.echo(run(checked(StudyConfig, override({}, settings)), output, work))


@bench.command("loss")
def bench_loss(
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the best counts.")] = 5,
) -> None:
    """Time and memory of a training step of the losses, against the released procedure and LPIPS, DISTS."""
    with one_line_errors():
        import json

        from tfmlc.evaluation.bench import bench_loss as run
        from tfmlc.evaluation.bench import summary
        from tfmlc.evaluation.provenance import provenance
        from tfmlc.files import write_atomically

        rows = run(repeats)
        ratios = summary(rows)
        content = {"rows": rows, "ratios": ratios, **provenance("cpu")}
        write_atomically(output, (json.dumps(content, indent=1) + "\n").encode())
        for row in rows:
            values = row.get("unavailable") or f"{row['seconds']:8.3f} s {row['extra_mib']:8.0f} MiB"
            typer.echo(f"{row['loss']:<28} {row['precision']}  {values}")
        for name, ratio in ratios.items():
            typer.echo(f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in ratio.items()))


@bench.command("synthesize")
def bench_synthesize(
    film: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON file for the costs.")],
) -> None:
    """Speed of making triplets beside merely decoding the film, and memory by length of window."""
    with one_line_errors():
        import json

        from tfmlc.evaluation.bench_synthesis import bench_synthesis
        from tfmlc.evaluation.provenance import provenance
        from tfmlc.files import write_atomically

        costs = bench_synthesis(film)
        write_atomically(output, (json.dumps({**costs, **provenance("cpu")}, indent=1) + "\n").encode())
        for row in costs["rows"]:
            typer.echo(f"{row['source']}: {row['relative_speed']:.2f} of the speed of decoding")
        typer.echo("peak memory: " + ", ".join(f"{mib} MiB ({n} frames)" for n, mib in costs["peak_mib"].items()))


@models.command("list")
def models_list() -> None:
    """Names of the models that need no download."""
    with one_line_errors():
        from tfmlc.weights import shipped_models

        for name, path in shipped_models().items():
            typer.echo(f"{name}  {path.stat().st_size / 1e6:.1f} MB")


@models.command("info")
def models_info(model: Annotated[str, typer.Argument(help="A model's name or a weights file.")]) -> None:
    """What a weights file holds: network, sizes, origin, licence."""
    with one_line_errors():
        from tfmlc.networks import load_network
        from tfmlc.weights import find_model

        typer.echo(load_network(find_model(model)).explain())


@models.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="A backbone's name.")]) -> None:
    """Get a backbone's weights now, so that they are there without a network; prints where they lie."""
    with one_line_errors():
        from tfmlc.backbones import BACKBONES
        from tfmlc.errors import unknown_name
        from tfmlc.weights import find_weights

        if name not in BACKBONES:
            raise unknown_name("backbone", name, BACKBONES)
        download = BACKBONES[name].download
        typer.echo(f"{find_weights(name, download)}  ({download.licence})")


@models.command("convert")
def models_convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Official .pth or any weights file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .safetensors file.")],
    half: Annotated[bool, typer.Option("--half", help="Store in half precision.")] = False,
    origin: Annotated[str, typer.Option(help="Where the weights come from. Default: what the file says.")] = "",
    licence: Annotated[str, typer.Option(help="Their licence. Default: what the file says.")] = "",
) -> None:
    """Rewrite a weights file as safetensors that know their origin and licence."""
    with one_line_errors():
        from tfmlc.networks import load_network, save_network

        network = load_network(source)
        save_network(
            output, network, origin=origin or network.about.origin, licence=licence or network.about.licence, half=half
        )
        typer.echo(load_network(output).explain())


def main() -> None:
    """Entry point of the ``tfmlc`` command."""
    app()


if __name__ == "__main__":
    main()
