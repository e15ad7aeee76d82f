"""An exported network equals its module at any size, without torch and this package."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import REPOSITORY, gentle, make_photo
from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.io.weights import shipped_models
from tfmlc.networks import Network, build_network, load_network
from tfmlc.networks.onnx import _calibration, _converted, _largest_difference, export_onnx

pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytestmark = pytest.mark.heavy
PAGE = REPOSITORY / "docs" / "howto" / "onnx.md"
ALONE = "import sys; sys.modules['torch'] = sys.modules['tfmlc'] = None\n"
NETWORKS = {
    "hinet": {"width": 8, "depth": 3, "normalised_levels": (1, 2), "unshuffle": 2, "head": 4, "scales": 2},
    "mprnet": {"width": 8, "unet_step": 4, "original_step": 4, "original_blocks": 1, "reduction": 4},
    "nafnet": {"width": 8, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)},
    "spectral-unet": {"widths": (8, 8), "encoder_blocks": (1, 1), "decoder_blocks": (1,), "code": 8, "head": (4, 4, 4)},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    torch.manual_seed(0)
    network = gentle(build_network("hinet", width=4, depth=2, normalised_levels=(1, 1))).eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert export_onnx(path, network) < 1e-4
    return network, path


def restored(content: bytes, blurry: np.ndarray) -> np.ndarray:
    from onnxruntime import InferenceSession

    session: Any = InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["restored"], {"blurry": blurry})[0]


def assert_equal(network: Network, path: Path) -> None:
    for shape in ((1, 3, 64, 48), (1, 3, 61, 97), (2, 3, 33, 1), (1, 3, 1, 2)):
        blurry = torch.rand(shape)
        with torch.inference_mode():
            wanted = network(blurry)[-1].numpy()
        assert np.abs(restored(path.read_bytes(), blurry.numpy()) - wanted).max() < 1e-4


def test_any_size_and_batch(exported: tuple[Network, Path]) -> None:
    assert_equal(*exported)


def test_the_page_runs_it_without_torch_and_this_package(exported: tuple[Network, Path], tmp_path: Path) -> None:
    network, path = exported
    photo = make_photo(45, 71)
    Image.fromarray(photo).save(tmp_path / "blurry.jpg")
    (tmp_path / "model.onnx").write_bytes(path.read_bytes())
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert len(code.splitlines()) <= 15
    subprocess.run([sys.executable, "-c", ALONE + code], cwd=tmp_path, check=True)
    blurry = torch.from_numpy(np.array(Image.open(tmp_path / "blurry.jpg"))).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        wanted = network(blurry)[-1][0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
    found = np.asarray(Image.open(tmp_path / "sharp.png")).astype(float)
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize(("precision", "most"), [("fp16", 0.005), ("int8", 0.05)])
def test_smaller_variants_are_close(exported: tuple[Network, Path], precision: Any, most: float) -> None:
    content = exported[1].read_bytes()
    blurry = torch.rand(1, 3, 37, 50).numpy()
    difference = np.abs(restored(_converted(content, precision), blurry) - restored(content, blurry)).max()
    assert 0 < difference < most


def test_ranges_measured_on_photos_are_stored(tmp_path: Path) -> None:
    import onnx

    torch.manual_seed(0)
    network = gentle(build_network("hinet", width=32, depth=2, normalised_levels=(1, 1), unshuffle=2)).eval()
    (tmp_path / "photos").mkdir()
    for number, sides in enumerate(((90, 70), (600, 530), (5, 3))):
        Image.fromarray(make_photo(*sides)).save(tmp_path / "photos" / f"{number}.png")
    path = tmp_path / "model.onnx"
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff")  # left out
    export_onnx(path, network, precision="int8", photos=tmp_path / "photos")
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert "QuantizeLinear" in kinds
    assert "DynamicQuantizeLinear" not in kinds
    pixels = [weight for weight in graph.initializer if 12 in tuple(weight.dims)[:2] and len(weight.dims) == 4]
    assert {onnx.TensorProto.FLOAT} == {weight.data_type for weight in pixels}  # near the pixels nothing is rounded
    blurry = torch.from_numpy(make_photo(71, 83)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        wanted = network(blurry)[-1].numpy()
    assert 0 < np.abs(restored(path.read_bytes(), blurry.numpy()) - wanted).max() < 0.05


@pytest.mark.parametrize(
    ("options", "said"), [(["--precision", "int8"], "no images in"), ([], "photos measure the ranges for int8")]
)
def test_photos_that_cannot_be_used_are_refused(tmp_path: Path, options: list[str], said: str) -> None:
    command = ["models", "export", "default", "-o", str(tmp_path / "model.onnx"), "--photos", str(tmp_path), *options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert said in result.output
    assert not list(tmp_path.iterdir())


def test_photos_of_a_graph_with_few_channels_are_refused(exported: tuple[Network, Path], tmp_path: Path) -> None:
    Image.fromarray(make_photo(20, 30)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="every convolution has fewer than 32 channels: export int8 without photos"):
        _converted(exported[1].read_bytes(), "int8", _calibration(tmp_path / "a.png"))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no photo of .* can be read"):  # before the graph is made
        export_onnx(tmp_path / "model.onnx", exported[0], precision="int8", photos=tmp_path)


def test_a_name_without_the_suffix_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["models", "export", "default", "-o", str(tmp_path / "model.pb")])
    assert result.exit_code == 2
    assert "the name must end in .onnx" in result.output
    assert result.output.count("\n") == 1


def test_a_network_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    class Chooses(Network):
        def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (blurry if float(blurry.mean()) > 0.5 else blurry * 2,)

    network = Chooses(step=2, floats_per_px=1, head=2)
    with pytest.raises(UserError, match="Chooses cannot be exported to ONNX"):
        export_onnx(tmp_path / "model.onnx", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_table(name: str, tmp_path: Path) -> None:
    network = build_network(name, **NETWORKS[name]).eval()
    export_onnx(tmp_path / "model.onnx", network)
    assert_equal(network, tmp_path / "model.onnx")


@pytest.mark.slow
def test_the_shipped_model_by_the_command(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "model.onnx"
    result = CliRunner().invoke(app, ["models", "export", "default", "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert "opset 18" in result.output
    network = load_network(shipped_models()["default"])
    assert_equal(network, path)
    said = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (said["licence"], said["sha256"]) == (network.info.licence, network.info.sha256)


def test_values_that_are_not_finite_are_found_at_any_size_and_in_any_precision(
    exported: tuple[Network, Path], tmp_path: Path
) -> None:
    class Sometimes(Network):
        def restore(self, blurry: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(stage * (1.0 if blurry.shape[-1] > 50 else torch.nan) for stage in exported[0].restore(blurry))

    network = Sometimes(step=exported[0].size_multiple, floats_per_px=1, head=2)
    network.register_parameter("any", torch.nn.Parameter(torch.zeros(1)))
    assert np.isnan(_largest_difference(network, exported[1].read_bytes()))
    broken = gentle(build_network("hinet", width=4, depth=2, normalised_levels=(1, 1))).eval()
    torch.nn.init.constant_(broken.get_parameter("last.bias"), torch.nan)
    with pytest.raises(UserError, match="its graph is off by nan"):
        export_onnx(tmp_path / "model.onnx", broken, precision="int8")
    assert not list(tmp_path.iterdir())
