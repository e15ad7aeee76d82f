"""Export of networks to ONNX files, which run without this package and without torch (extra ``onnx``)."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.networks.network import Network

OPSET = 18
INPUT, OUTPUT = "blurry", "restored"
CLOSE = 1e-4
CHECKED_PX = ((64, 96), (57, 83), (5, 9))  # height and width
Precision = Literal["fp32", "fp16", "int8"]


class _Restored(nn.Module):
    """Returns the last stage only."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, blurry: Tensor) -> Tensor:
        return self.network(blurry)[-1]


def export_onnx(path: str | Path, network: Network, *, precision: Precision = "fp32") -> float:
    """Write a network as an ONNX file of opset 18.

    The graph has one input, ``blurry``, and one output, ``restored``: float32 RGB images in [0, 1], ``b 3 h w``, of any
    size. The padding to the size multiple is inside. The name, the origin and the licence of the weights are in the
    metadata of the file. The result of the file is compared with that of the network at three sizes before the file is
    written.

    Args:
        path: The file to write, ``.onnx``.
        network: The network.
        precision: ``"fp32"``; ``"fp16"`` computes in half precision, for devices that are fast at it; ``"int8"`` stores
            and multiplies the weights as 8-bit integers. Only ``"fp32"`` equals the network.

    Returns:
        The largest difference between the values of the file and those of the network.

    Raises:
        UserError: If the network cannot be exported, the exported one differs from it or returns values that are not
            finite, or the file cannot be written.
        ModuleNotFoundError: If the extra ``onnx`` is not installed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from tfmlc.networks import build_network
        >>> with TemporaryDirectory() as folder:  # doctest: +SKIP
        ...     difference = export_onnx(f"{folder}/model.onnx", build_network("hinet", width=8, depth=2))
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise UserError(f"cannot write {path}: the name must end in .onnx")
    was_training = network.training
    network.eval()
    try:
        content = _converted(_graph(network), precision)
        difference = _largest_difference(network, content)
    finally:
        network.train(was_training)
    if not np.isfinite(difference) or (precision == "fp32" and difference > CLOSE):
        raise UserError(
            f"{network.info.name or 'the network'} cannot be exported: its graph is off by {difference:.2g}"
        )
    write_atomically(path, content)
    return difference


def _graph(network: Network) -> bytes:
    """Return the ONNX file of a network."""
    import onnxscript  # noqa: F401 # pyright: ignore[reportMissingImports, reportUnusedImport] # torch exports by it

    example = torch.zeros(2, 3, 2 * network.size_multiple, 3 * network.size_multiple)
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own parts
            program: Any = torch.onnx.export(
                _Restored(network).eval(),
                (example.to(next(network.parameters())),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamic_shapes=(sizes,),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # it raises many types
        name, reason = network.info.name or type(network).__name__, " ".join(str(error).split())[:300]
        raise UserError(f"{name} cannot be exported to ONNX: {reason}") from error
    info = network.info
    about = {"network": info.name, "origin": info.origin, "licence": info.licence, "sha256": info.sha256}
    program.model.metadata_props.update({name: value for name, value in about.items() if value})
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()


def _converted(content: bytes, precision: Precision) -> bytes:
    """Convert a graph to another precision; its input and output stay float32."""
    if precision == "fp32":
        return content
    import onnx

    model: Any = onnx.load_from_string(content)
    if precision == "fp16":
        from onnxruntime.transformers import float16

        converter = cast(Any, float16)  # without types
        return converter.convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    from tempfile import TemporaryDirectory

    from onnxruntime import quantization
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(model)  # the exporter has folded constants and inferred the shapes already
    with TemporaryDirectory() as folder:
        smaller = Path(folder, "int8.onnx")
        quantization.quantize_dynamic(model, smaller, per_channel=True)
        return smaller.read_bytes()


def _largest_difference(network: Network, content: bytes) -> float:
    from onnxruntime import InferenceSession

    session: Any = InferenceSession(content, providers=["CPUExecutionProvider"])
    weight = next(network.parameters())
    found: list[float] = []
    for height, width in CHECKED_PX:
        blurry = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(blurry).to(weight))[-1].float().cpu().numpy()
        found.append(float(np.abs(session.run([OUTPUT], {INPUT: blurry})[0] - wanted).max()))
    return float(np.max(found))  # unlike max it returns NaN if one of them is


__all__ = ["export_onnx"]
