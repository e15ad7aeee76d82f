"""List, explain, fetch, blend and convert models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfmlc.cli.tree import (
    models,
    one_line_errors,
)

Half = Annotated[bool, typer.Option("--half", help="Store in half precision.")]


@models.command("list")
def models_list() -> None:
    """Names of the models that need no download."""
    with one_line_errors():
        from tfmlc.io.weights import shipped_models

        for name, path in shipped_models().items():
            same = "" if path.stem == name else f"  (is {path.stem})"
            typer.echo(f"{name}  {path.stat().st_size / 1e6:.1f} MB{same}")


@models.command("info")
def models_info(model: Annotated[str, typer.Argument(help="A model's name or a weights file.")]) -> None:
    """What a weights file holds: network, sizes, origin, licence, and a warning where one is due."""
    with one_line_errors():
        from tfmlc.io.weights import find_model, shipped_warning
        from tfmlc.networks import load_network

        path = find_model(model)
        typer.echo(load_network(path).explain())
        if warning := shipped_warning(path):
            typer.echo(f"warning   {warning}")


@models.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="A backbone's name.")]) -> None:
    """Get a backbone's weights now, so that they are there without a network; prints where they lie."""
    with one_line_errors():
        from tfmlc.backbones import BACKBONES
        from tfmlc.errors import unknown_name
        from tfmlc.io.weights import find_weights

        if name not in BACKBONES:
            raise unknown_name("backbone", name, BACKBONES)
        download = BACKBONES[name].download
        typer.echo(f"{find_weights(name, download)}  ({download.licence})")


@models.command("blend")
def models_blend(
    one: Annotated[str, typer.Argument(help="A model's name or a weights file.")],
    other: Annotated[str, typer.Argument(help="A model finetuned from it.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .safetensors file.")],
    factor: Annotated[
        float, typer.Option("--factor", "--share", help="Blend factor: 0 gives ONE, 1 gives OTHER.")
    ] = 0.5,
    onto: Annotated[str | None, typer.Option(help="Change this model so, not the first.")] = None,
    half: Half = False,
) -> None:
    """Weights between those of a model and of one finetuned from it, to choose between fidelity and looks."""
    with one_line_errors():
        from tfmlc.io.weights import find_model
        from tfmlc.networks import blend_networks, load_network, save_network

        start, end = (load_network(find_model(model)) for model in (one, other))
        base = None if onto is None else load_network(find_model(onto))
        blended = blend_networks(start, end, factor, onto=base)
        save_network(output, blended, origin=blended.info.origin, licence=blended.info.licence, half=half)
        typer.echo(load_network(output).explain())


@models.command("convert")
def models_convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Official .pth or any weights file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .safetensors file.")],
    half: Half = False,
    origin: Annotated[str, typer.Option(help="Where the weights come from. Default: what the file says.")] = "",
    licence: Annotated[str, typer.Option(help="Their licence. Default: what the file says.")] = "",
) -> None:
    """Rewrite a weights file as safetensors that know their origin and licence."""
    with one_line_errors():
        from tfmlc.networks import load_network, save_network

        network = load_network(source)
        save_network(
            output, network, origin=origin or network.info.origin, licence=licence or network.info.licence, half=half
        )
        typer.echo(load_network(output).explain())
