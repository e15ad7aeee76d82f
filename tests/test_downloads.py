"""Weights are downloaded completely, checked and atomically, or refused in one line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from typer.testing import CliRunner

from tfmlc.backbones import BACKBONES
from tfmlc.backbones.catalog import Row
from tfmlc.cli import app
from tfmlc.io.weights import Download

CONTENT = np.random.default_rng(0).bytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file; ``cut`` makes it announce everything and end early, ``ranges`` lets a download continue."""

    cut: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if not self.path.endswith("/ViT-B-16.pt"):
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.ranges else 0
        self.server.starts.append(start)
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TFMLC_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "hub" / "checkpoints"


def fetch(monkeypatch: pytest.MonkeyPatch, address: str, sha256: str = SHA256) -> tuple[int, str]:
    """The exit status and the last line of a fetch of a backbone whose official file is at an address."""
    row = BACKBONES["clip-vit-b16"]
    monkeypatch.setitem(BACKBONES, "clip-vit-b16", Row(row.build, Download(address, sha256, "MIT"), row.paper))
    run = CliRunner().invoke(app, ["models", "fetch", "clip-vit-b16"])
    return run.exit_code, run.output.splitlines()[-1]


def address_of(server: Server, file: str = "ViT-B-16.pt") -> str:
    return f"http://127.0.0.1:{server.server_port}/clip/{file}"


def test_a_good_file_is_stored_once(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        assert fetch(monkeypatch, address_of(server)) == (0, f"{cache / 'ViT-B-16.pt'}  (MIT)")
    assert (cache / "ViT-B-16.pt").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["ViT-B-16.pt"]
    assert server.starts == [0]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_is_cut_off_continues(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    server.cut, server.ranges = 300_000, ranges
    status, line = fetch(monkeypatch, address_of(server), sha256="")  # seen without a checksum too
    assert status == 2
    assert "ended after 300000 of 700000 bytes; the same command continues there; download ViT-B-16.pt by other" in line
    assert [path.name for path in cache.iterdir()] == ["ViT-B-16.pt.part"]
    server.cut = None
    assert fetch(monkeypatch, address_of(server))[0] == 0
    assert (cache / "ViT-B-16.pt").read_bytes() == CONTENT
    assert server.starts == [0, 300_000 if ranges else 0]


def test_a_part_that_is_whole_is_checked(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / "ViT-B-16.pt.part").write_bytes(CONTENT)
    assert fetch(monkeypatch, address_of(server))[0] == 0
    assert (cache / "ViT-B-16.pt").read_bytes() == CONTENT


def test_a_wrong_file_is_removed(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, line = fetch(monkeypatch, address_of(server), sha256="0" * 64)
    assert status == 2
    assert f"has the sha256 {SHA256}, not {'0' * 64}, and was removed" in line
    assert not list(cache.iterdir())


def test_an_address_without_the_file(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, line = fetch(monkeypatch, address_of(server, "ViT-B-17.pt"))
    assert (status, "ViT-B-17.pt: the server has no such file (status 404); download" in line) == (2, True)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ("address", "reason"),
    [("http://127.0.0.1:9/ViT-B-16.pt", "connection refused"), ("http://none.invalid/ViT-B-16.pt", "")],
)
def test_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    status, line = fetch(monkeypatch, address)
    assert status == 2
    assert line.startswith(f"tfmlc: no weights for clip-vit-b16: cannot download {address}: {reason}")
    assert line.endswith(
        f"; download ViT-B-16.pt by other means into {cache} or the folder that the environment variable TFMLC_WEIGHTS "
        "names, or give its path"
    )
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").write_text("a file")
    status, line = fetch(monkeypatch, address_of(server))
    assert (status, f"cannot write to {cache}" in line) == (2, True)
