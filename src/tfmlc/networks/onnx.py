"""Export of networks to ONNX files, which run without this package and without torch (extra ``onnx``)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.io.images import find_images, read_rgb8
from tfmlc.networks.network import Network
from tfmlc.runtime.progress import Progress

OPSET = 18
INPUT, OUTPUT = "blurry", "restored"
CLOSE = 1e-4
CHECKED_PX = ((64, 96), (57, 83), (5, 9))  # height and width
MOST_PHOTOS, PHOTO_PX = 24, 256  # of the photos that measure the ranges of the features
COMPARED_PHOTOS = 4
RANGE_PERCENT = 99.99  # of the values of a feature; the few beyond are clipped
FEWEST_CHANNELS = 32  # fewer lose accuracy and gain no time
Precision = Literal["fp32", "fp16", "int8"]
Input = dict[str, NDArray[np.float32]]


class _Restored(nn.Module):
    """Returns the last stage only."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, blurry: Tensor) -> Tensor:
        return self.network(blurry)[-1]


def export_onnx(
    path: str | Path, network: Network, *, precision: Precision = "fp32", photos: str | Path | None = None
) -> float:
    """Write a network as an ONNX file of opset 18.

    The graph has one input, ``blurry``, and one output, ``restored``: float32 RGB images in [0, 1], ``b 3 h w``, of any
    size. The padding to the size multiple is inside. The name, the origin and the licence of the weights are in the
    metadata of the file. Before it is written, its result is compared with that of the network on noise of three sizes
    and on some of ``photos``.

    Args:
        path: The file to write, ``.onnx``.
        network: The network.
        precision: ``"fp32"``; ``"fp16"`` computes in half precision, for devices that are fast at it; ``"int8"`` stores
            and multiplies the weights as 8-bit integers. Only ``"fp32"`` equals the network.
        photos: For ``"int8"``, a folder of blurry photos, or one. The ranges of the features are measured on them and
            stored. Without them the graph finds the ranges anew for each image, which takes much longer.

    Returns:
        The largest difference between the values of the file and those of the network, on what was compared.

    Raises:
        UserError: If the network cannot be exported, the exported one differs from it or returns values that are not
            finite, the file cannot be written, the folder has no photos, or photos are given for another precision.
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
    if photos is not None and precision != "int8":
        raise UserError(f"photos measure the ranges for int8; {precision} takes none")
    inputs = _calibration(photos)
    was_training = network.training
    network.eval()
    try:
        content = _converted(_graph(network), precision, inputs)
        difference = _largest_difference(network, content, inputs[:COMPARED_PHOTOS])
    finally:
        network.train(was_training)
    if not np.isfinite(difference) or (precision == "fp32" and difference > CLOSE):
        name = network.info.name or "the network"
        raise UserError(f"{name} cannot be exported: its graph is off by {difference:.2g}")
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


def _calibration(photos: str | Path | None) -> list[Input]:
    """Return the middle of some of the photos as inputs of the graph."""
    found = find_images(Path(photos)) if photos is not None else []
    inputs: list[Input] = []
    for path, _ in found[:: -(-len(found) // MOST_PHOTOS) or 1]:
        try:
            photo = read_rgb8(path)
        except UserError as error:
            Progress("photos").say(f"left out: {error}")
            continue
        top, left = (max(0, (side - PHOTO_PX) // 2) for side in photo.shape[:2])
        part = photo[top : top + PHOTO_PX, left : left + PHOTO_PX].transpose(2, 0, 1)
        inputs.append({INPUT: (part[None] / 255).astype(np.float32)})
    if found and not inputs:
        raise UserError(f"no photo of {photos} can be read: name another folder")
    return inputs


def _converted(content: bytes, precision: Precision, inputs: Sequence[Input] = ()) -> bytes:
    """Convert a graph to another precision; its input and output stay float32."""
    if precision == "fp32":
        return content
    import onnx

    model: Any = onnx.load_from_string(content)
    if precision == "fp16":
        from onnxruntime.transformers import float16

        converter = cast(Any, float16)  # without types
        return converter.convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    try:
        return _in_8_bits(model, inputs)
    except UserError:
        raise
    except Exception as error:  # it raises many types
        raise UserError(f"the graph cannot be converted to int8: {' '.join(str(error).split())[:300]}") from error


def _in_8_bits(model: Any, inputs: Sequence[Input]) -> bytes:
    from onnxruntime import quantization
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(model)  # the exporter has folded constants and inferred the shapes already
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):  # it prints its progress
        smaller = Path(folder, "int8.onnx")
        if not inputs:
            quantization.quantize_dynamic(model, smaller, per_channel=True)
            return smaller.read_bytes()

        class Photos(quantization.CalibrationDataReader):
            """The photos, in ranges of one: the features of all photos of a range are in memory at once."""

            def __len__(self) -> int:
                return len(inputs)

            def set_range(self, start_index: int, end_index: int) -> None:
                self.rest = iter(inputs[start_index:end_index])

            def get_next(self) -> Any:
                return next(self.rest, None)

        quantization.quantize_static(
            model,
            smaller,
            Photos(),
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=_narrow(model),
            per_channel=True,
            reduce_range=True,  # older processors overflow with all 8 bits
            activation_type=quantization.QuantType.QUInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": RANGE_PERCENT, "CalibStridedMinMax": 1},
        )
        return smaller.read_bytes()


def _narrow(model: Any) -> list[str]:
    """Return the names of the convolutions with few channels, and of those that take or give pixels."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    convolutions = {node.name: shapes[node.input[1]][:2] for node in model.graph.node if node.op_type == "Conv"}
    pixels = next(iter(convolutions.values()))[1]  # what the first one takes
    narrow = [name for name, sides in convolutions.items() if min(sides) < FEWEST_CHANNELS or pixels in sides]
    if len(narrow) == len(convolutions):
        raise UserError(f"every convolution has fewer than {FEWEST_CHANNELS} channels: export int8 without photos")
    return narrow


def _largest_difference(network: Network, content: bytes, photos: Sequence[Input] = ()) -> float:
    from onnxruntime import InferenceSession

    session: Any = InferenceSession(content, providers=["CPUExecutionProvider"])
    weight = next(network.parameters())
    found: list[float] = []
    noise = [np.random.default_rng(0).random((1, 3, height, width), np.float32) for height, width in CHECKED_PX]
    for blurry in (*noise, *(photo[INPUT] for photo in photos)):
        with torch.inference_mode():
            wanted = network(torch.from_numpy(blurry).to(weight))[-1].float().cpu().numpy()
        found.append(float(np.abs(session.run([OUTPUT], {INPUT: blurry})[0] - wanted).max()))
    return float(np.max(found))  # unlike max it returns NaN if one of them is


__all__ = ["export_onnx"]
