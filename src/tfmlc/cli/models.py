"""List, inspect, download, convert, blend and export models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfmlc.cli.tree import (
    models,
    one_line_errors,
    show,
)

Half = Annotated[bool, typer.Option("--half", help="Store the weights in half precision.")]


@models.command("list")
def models_list() -> None:
    """List the models that ship with tfmlc."""
    with one_line_errors():
        from tfmlc.io.weights import shipped_models

        for name, path in shipped_models().items():
            same = "" if path.stem == name else f"  (same as {path.stem})"
            show(f"{name}  {path.stat().st_size / 1e6:.1f} MB{same}")


@models.command("info")
def models_info(model: Annotated[str, typer.Argument(help="Name of a model or a weights file.")]) -> None:
    """Show what a weights file holds: network, adapter or backbone, sizes, origin and licence."""
    with one_line_errors():
        from tfmlc.backbones import build_backbone
        from tfmlc.io.checkpoint import read_info
        from tfmlc.io.weights import find_model, shipped_backbone
        from tfmlc.losses import Adapter
        from tfmlc.networks import load_network

        path = shipped_backbone(model) or find_model(model)
        info = read_info(path)
        if info.kind == "backbone":
            found = build_backbone(info.name, path)
        else:
            found = (Adapter.load if info.kind == "adapter" else load_network)(path)
        show(*found.explain().splitlines())


@models.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="Name of a backbone.")]) -> None:
    """Download the weights of a backbone and print their path, for later use without a network connection."""
    with one_line_errors():
        from tfmlc.backbones import BACKBONES
        from tfmlc.errors import unknown_name
        from tfmlc.io.weights import find_weights

        if name not in BACKBONES:
            raise unknown_name("backbone", name, BACKBONES)
        download = BACKBONES[name].download
        show(f"{find_weights(name, download)}  ({download.licence})")


@models.command("blend")
def models_blend(
    one: Annotated[str, typer.Argument(help="Name of a model or a weights file.")],
    other: Annotated[str, typer.Argument(help="A model that was finetuned from ONE.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file to write.")],
    factor: Annotated[float, typer.Option("--factor", help="Blend factor: 0 gives ONE, 1 gives OTHER.")] = 0.5,
    onto: Annotated[str | None, typer.Option(help="Apply the change from ONE to OTHER to this model instead.")] = None,
    half: Half = False,
) -> None:
    """Interpolate between a model and one finetuned from it, for example between fidelity and perceptual quality."""
    with one_line_errors():
        from tfmlc.io.weights import find_model
        from tfmlc.networks import blend_networks, load_network, save_network

        start, end = (load_network(find_model(model)) for model in (one, other))
        base = None if onto is None else load_network(find_model(onto))
        blended = blend_networks(start, end, factor, onto=base)
        save_network(output, blended, origin=blended.info.origin, licence=blended.info.licence, half=half)
        show(*load_network(output).explain().splitlines())


@models.command("convert")
def models_convert(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An official .pth file or any other weights file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file to write.")],
    half: Half = False,
    origin: Annotated[str, typer.Option(help="Where the weights come from. Default: what the file says.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights. Default: what the file says.")] = "",
) -> None:
    """Convert a weights file to safetensors and record its origin and licence."""
    with one_line_errors():
        from tfmlc.networks import load_network, save_network

        network = load_network(source)
        save_network(
            output, network, origin=origin or network.info.origin, licence=licence or network.info.licence, half=half
        )
        show(*load_network(output).explain().splitlines())


@models.command("export")
def models_export(
    model: Annotated[str, typer.Argument(help="Name of a model or a weights file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .onnx file to write.")],
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="fp32 equals the model; fp16 and int8 are smaller.")
    ] = "fp32",
    photos: Annotated[
        Path | None, typer.Option(help="For int8: blurry photos, on which ranges are measured; much faster then.")
    ] = None,
) -> None:
    """Write a model as an ONNX file, which runs without tfmlc and PyTorch."""
    with one_line_errors():
        from tfmlc.io.weights import find_model
        from tfmlc.networks import load_network
        from tfmlc.networks.onnx import OPSET, export_onnx

        difference = export_onnx(output, load_network(find_model(model)), precision=precision, photos=photos)
        size = f"{output.stat().st_size / 1e6:.1f} MB, opset {OPSET}"
        where = "noise" if photos is None else "noise and some of the photos"
        show(f"{output}  {size}, any size; differs from the model by at most {difference:.1g} on {where}")
