"""The tree of commands, and what their functions have in common."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from tfmlc.runtime.cluster import Cluster

ORDER = ("deblur", "blurriness", "app", "evaluate", "report", "synthesize", "adapt", "train", "models", "data")


class InOrder(TyperGroup):
    """Lists its commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands; those without a place come last."""
        places = {name: place for place, name in enumerate(ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: places.get(name, len(places)))


app = typer.Typer(
    name="tfmlc",
    cls=InOrder,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
synthesize = typer.Typer(
    help="Create training data: pairs or triplets of blurry and sharp images.", no_args_is_help=True
)
models = typer.Typer(help="List, inspect, download, convert, blend and export models.", no_args_is_help=True)
bench = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)
reproduce = typer.Typer(help="Reproduce the study and the paper's tables.", no_args_is_help=True)
app.add_typer(reproduce, name="reproduce")
app.add_typer(bench, name="bench")
app.add_typer(synthesize, name="synthesize")
app.add_typer(models, name="models")

Seed = Annotated[int, typer.Option(help="Random seed. The same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="auto (cuda, mps or cpu) or the name of a torch device.")]
Tile = Annotated[
    int | None, typer.Option(help="Side of a tile in px; 0 for the whole image. Default: what fits into memory.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[HOST:PORT]",
        help="Use the workers of a Ray cluster; without an address that of this machine, started if needed.",
    ),
]
RayCores = Annotated[int | None, typer.Option(min=1, help="With --ray: cores of a worker that has no GPU. Default: 1.")]
UNPRINTABLE = "tfmlc-escapes"
Precision = Annotated[
    Literal["auto", "fp32", "bf16"], typer.Option(help="auto uses bf16 if the device is fast at it, else fp32.")
]
OPTIONS = {  # what is added to an error that names a keyword argument
    "in_place": ", or use --in-place",
    "output": " (use -o to write the result to another file)",
    "allow_large": ": use --yes-large if you trust the file",
    "codec": " with --codec",
}
EXTRAS = {
    "train": ("accelerate", "tensorboard", "matplotlib", "scipy", "tabulate"),
    "metrics": ("pyiqa",),
    "video": ("av",),
    "app": ("gradio",),
    "heic": ("pi_heif",),
    "jxl": ("pylibjxl",),
    "raw": ("rawpy",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "ray": ("ray", "s3fs", "gcsfs"),
}


def find_cluster(address: str | None, cores: int | None) -> Cluster | None:
    """Return the cluster of ``--ray``; None without this option. Raises UserError for cores without a cluster."""
    from tfmlc.errors import UserError
    from tfmlc.runtime.cluster import Cluster

    if address is not None:
        return Cluster(address or None, cores or 1)
    if cores is not None:
        raise UserError("--ray-cores needs --ray: without it all cores of this machine are used")
    return None


class WithRay(TyperCommand):
    """A command whose option ``--ray`` may be given with or without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of a command."""
        return super().parse_args(ctx, with_address(args))


def with_address(words: Sequence[str]) -> list[str]:
    """Add an empty address to ``--ray`` where the next word is none.

    >>> with_address(["--ray", "in", "-o", "out"]), with_address(["in", "--ray", "head:6379"])
    (['--ray=', 'in', '-o', 'out'], ['in', '--ray', 'head:6379'])
    """
    end = words.index("--") if "--" in words else len(words)
    following = [*words[1:], ""]
    return [
        "--ray=" if word == "--ray" and number < end and not re.fullmatch(r"[^/\\]+:\d+", following[number]) else word
        for number, word in enumerate(words)
    ]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # importing it takes a tenth of the time of --help

        typer.echo(version("tfmlc"))
        raise typer.Exit


@app.callback()
def tfmlc(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Deblur photos, train deblurring networks with losses that respond to blur, and score them reproducibly."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=UNPRINTABLE)


def _as_escapes(error: UnicodeError) -> tuple[str, int]:
    r"""Escape what a stream cannot print; a byte of a name that is not UTF-8 becomes ``\xe9``."""
    assert isinstance(error, UnicodeEncodeError)
    rest = error.object[error.start : error.end]
    raw = rest.encode("utf-8", "surrogateescape") if all("\udc80" <= sign <= "\udcff" for sign in rest) else b""
    return raw.decode("ascii", "backslashreplace") or rest.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(UNPRINTABLE, _as_escapes)


def check_unlocked(folder: Path) -> None:
    """Raise UserError at once if another run uses a folder."""
    from tfmlc.io.locks import check_unlocked as check

    check(folder)


def in_words(error: str, option: str) -> str:
    """Return an error with the command-line option that would allow what was refused."""
    return error + OPTIONS.get(option, "")


def show(*lines: str, err: bool = False) -> None:
    """Print lines to standard output; control characters, which names and files can hold, are escaped."""
    from tfmlc.errors import printable

    for line in lines:
        typer.echo(printable(line), err=err)


def say(line: str) -> None:
    """Print a line to standard error, where progress and errors go."""
    show(line, err=True)


def path(text: str) -> Path:
    """Return the path of an argument; an empty one, as of a variable that is not set, is not the current folder."""
    from tfmlc.errors import UserError

    with one_line_errors():
        if not text:
            raise UserError("a path is empty: name a file or folder; the current folder is '.'")
    return Path(text)


def refuse_empty_paths(tree: typer.Typer) -> None:
    """Give every path of every command a parser that refuses an empty one; ``Path("")`` is the current folder."""
    for group in tree.registered_groups:
        if group.typer_instance is not None:
            refuse_empty_paths(group.typer_instance)
    for command in tree.registered_commands:
        assert command.callback is not None
        types = get_type_hints(command.callback, include_extras=True)
        command.callback.__annotations__.update(types)  # typer would make those that are texts anew
        for kind in types.values():
            inner, *details = get_args(kind) if get_origin(kind) is Annotated else (kind,)
            for detail in details if Path in (inner, *get_args(inner)) else ():
                detail.parser = path


@contextmanager
def one_line_errors() -> Generator[None]:
    """Print an error of the user or the system as one line and exit with 2; exit with 130 after an interruption."""
    from tfmlc.errors import INTERRUPTED, UserError, in_one_line

    try:
        yield
    except UserError as error:
        say(f"tfmlc: {in_words(str(error), error.option)}")
        raise typer.Exit(2) from error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                typer.echo(f"tfmlc: this command needs the extra {extra}: pip install 'tfmlc[{extra}]'", err=True)
                raise typer.Exit(2) from error
        raise
    except BrokenPipeError:  # what reads the output has ended
        raise
    except OSError as error:  # a full disk, a folder that cannot be written
        say(f"tfmlc: {in_one_line(error, 'a file')}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(130) from None
