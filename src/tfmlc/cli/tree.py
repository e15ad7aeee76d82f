"""The tree of verbs, and what their functions share."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    name="tfmlc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
synthesize = typer.Typer(help="Make blurry and sharp images to train on.", no_args_is_help=True)
models = typer.Typer(help="The models there are.", no_args_is_help=True)
bench = typer.Typer(help="Measure costs on this machine.", no_args_is_help=True)
reproduce = typer.Typer(help="Studies and tables, from data to result.", no_args_is_help=True)
app.add_typer(reproduce, name="reproduce")
app.add_typer(bench, name="bench")
app.add_typer(synthesize, name="synthesize")
app.add_typer(models, name="models")

Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
Device = Annotated[str, typer.Option(help="auto (cuda, mps, cpu), or a torch device name.")]
UNPRINTABLE = "tfmlc-escapes"
Precision = Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="auto: bf16 where it is fast.")]
OPTIONS = {  # what an error adds by the keyword argument that it names
    "in_place": ", or say --in-place",
    "output": " (-o writes it elsewhere)",
    "allow_large": ": say --yes-large if it is a photo of your own",
}
EXTRAS = {
    "train": ("accelerate", "tensorboard", "matplotlib"),
    "metrics": ("pyiqa", "scipy"),
    "video": ("av",),
    "app": ("gradio",),
    "heic": ("pi_heif",),
}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("tfmlc"))
        raise typer.Exit


@app.callback()
def tfmlc(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sharper photos, blur-aware losses, and scores that hold."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=UNPRINTABLE)


def _as_escapes(error: UnicodeError) -> tuple[str, int]:
    r"""What a stream cannot print, as escapes: of a name that is not UTF-8 the byte, as ``\xe9``."""
    assert isinstance(error, UnicodeEncodeError)
    rest = error.object[error.start : error.end]
    raw = rest.encode("utf-8", "surrogateescape") if all("\udc80" <= sign <= "\udcff" for sign in rest) else b""
    return raw.decode("ascii", "backslashreplace") or rest.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(UNPRINTABLE, _as_escapes)


def check_unlocked(folder: Path) -> None:
    """Refuse at once a folder in which another run is at work."""
    from tfmlc.io.locks import check_unlocked as check

    check(folder)


def in_words(error: str, option: str) -> str:
    """A user's error in one line, with the option that would allow what was refused."""
    return error + OPTIONS.get(option, "")


def say(line: str) -> None:
    """Print a line where progress and errors go."""
    from tfmlc.errors import printable

    typer.echo(printable(line), err=True)


@contextmanager
def one_line_errors() -> Generator[None]:
    """A user's error or a missing extra is printed as one line, exit status 2; an interruption leaves with 130."""
    from tfmlc.errors import UserError

    try:
        yield
    except UserError as error:
        say(f"tfmlc: {in_words(str(error), error.option)}")
        raise typer.Exit(2) from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                typer.echo(f"tfmlc: this needs the extra {extra}: pip install 'tfmlc[{extra}]'", err=True)
                raise typer.Exit(2) from error
        raise
    except KeyboardInterrupt:
        typer.echo("tfmlc: interrupted; what was finished is kept, the same command goes on", err=True)
        raise typer.Exit(130) from None
