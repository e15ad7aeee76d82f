"""Where the tests find real material, and images made for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
GOLDEN = REPOSITORY / "tests" / "golden" / "values"
RUN_AND_MEASURE = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
)
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):  # what the tests read was not written on a terminal
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of processes takes seconds to start: only tests of several workers ask for one."""
    monkeypatch.setattr("tfmlc.runtime.parallel.cpu_count", lambda: 1)


@pytest.fixture(autouse=True)
def _own_accelerate() -> Iterator[None]:
    """Accelerate keeps its device for the life of a process: let each test choose its own."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def empty_metric_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for the weights of metrics. Pyiqa looks for its folder once, so it is loaded anew, and again."""
    from tfmlc.metrics import registry

    def forget() -> None:
        for package in [name for name in sys.modules if name.partition(".")[0] == "pyiqa"]:
            del sys.modules[package]
        registry._pyiqa_metric.cache_clear()

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    forget()
    yield tmp_path / "empty" / "hub" / "pyiqa"
    forget()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of weights and images of others that do not ship, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("needs weights or images of others, which do not ship")
    return SHARED


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth, colourful uint8 image with edges, 96 x 128."""
    return make_photo(96, 128)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small images to train on."""
    from tfmlc.io.images import Image, write_image

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_image(folder / f"{number}.png", Image(make_photo(120 + 8 * number, 150)))
    return folder


def run_and_measure(*command: str) -> tuple[str, float]:
    """What a Python command prints, and its peak memory in MiB.

    It is started by a small process: it would inherit the peak of this one.
    """
    measured = [sys.executable, "-c", RUN_AND_MEASURE, sys.executable, *command]
    *said, peak = subprocess.run(measured, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return "\n".join(said), float(peak)


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, row by row, without the line below its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [row for row in rows if not set("".join(row)) <= set(":-")]


def gentle(network: Any) -> Any:
    """The network with a last layer that changes an image about as much as that of a trained one."""
    from torch import nn

    nn.init.normal_(network.get_parameter("last.weight"), std=0.004)
    nn.init.zeros_(network.get_parameter("last.bias"))
    return network


def small_network(seed: int = 0) -> Any:
    """A small HINet with random weights that changes images a little."""
    import torch

    from tfmlc.networks import build_network

    torch.manual_seed(seed)
    return gentle(build_network("hinet", width=8, depth=3, normalised_levels=(1, 2)))


def make_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 7 + y / 11), np.cos(x / 13 - y / 5), np.sin((x + y) / 17)]
    image = np.stack(waves, axis=-1) * 0.35 + 0.5
    image[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.1, 0.2)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def store() -> Iterator[Any]:
    """An S3 server on this machine, with a bucket called ``bucket``."""
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "key", "DEFAULT_REGION": "us-east-1"}.items():
            environment.setenv(f"AWS_{name}", value)
        files = s3fs.S3FileSystem(use_listings_cache=False)
        files.mkdir("bucket")
        yield files
    server.stop()
