"""The server of the page: where it listens, what it needs, and which requests it refuses."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest
from typer.testing import CliRunner

from tfmlc.app.limits import Limits
from tfmlc.app.serving import ADDRESS, serving
from tfmlc.cli import app
from tfmlc.io.files import TEMPORARY

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio"),
]
looked_up: list[str] = []


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        looked_up.append(str(arguments[0]))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def status_of(address: str) -> int:
    try:
        with build_opener(ProxyHandler({})).open(address, timeout=20) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_the_server_looks_up_no_address_that_a_request_names_and_needs_no_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    sys.addaudithook(_record)
    with serving(Limits(), port=free_port()) as blocks:
        assert status_of(blocks.local_url) == 200
        for path in (
            "file=https://one.invalid/x",
            "file=https:%2F%2Ftwo.invalid%2Fx",
            "file=https:/three.invalid/x",
            "file/http://four.invalid/x",
            "proxy=https://five.hf.space/x",
            "proxy=six.hf.space/x",
        ):
            assert status_of(f"{blocks.local_url}gradio_api/{path}") == 403, path
    assert not ADDRESS.search("/gradio_api/file=C:/Users/a.png")  # a drive of Windows
    assert [name for name in looked_up if name.endswith((".invalid", ".space"))] == []


def test_an_address_with_colons_and_a_port_that_is_none() -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    with serving(Limits(), host="::1", port=free_port()) as blocks:
        assert blocks.local_url.startswith("http://[::1]:")
        assert status_of(blocks.local_url) == 200
    ran = CliRunner().invoke(app, ["app", "--port", "0"])
    assert ran.exit_code == 2
    assert "Traceback" not in ran.output


def test_a_server_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = CliRunner().invoke(app, ["app", "--port", str(taken.getsockname()[1])])
    assert ran.exit_code == 2
    assert "it is in use or not allowed; choose another port" in ran.stderr
    assert ran.stderr.count("\n") == 1
    monkeypatch.setattr("gradio.networking.url_ok", lambda _: False)
    ran = CliRunner().invoke(app, ["app", "--port", str(free_port())])
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)


@contextmanager
def terminal() -> Generator[None]:
    """Children end with the terminal, also where the tests run under ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.multiprocess
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_no_end_of_the_page_leaves_files(tmp_path: Path) -> None:
    """A closed terminal removes them, and after a kill the next start does."""
    left = []
    for end in (signal.SIGKILL, signal.SIGHUP):
        command = [sys.executable, "-m", "tfmlc.cli", "app", "--port", str(free_port())]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        with terminal(), subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as page:
            try:
                assert page.stderr is not None
                assert "in a browser" in next(line for line in page.stderr if line.startswith("tfmlc: "))
                (ours,) = (path for path in tmp_path.glob(f"{TEMPORARY}*") if path.is_dir())
                assert stat.S_IMODE(ours.stat().st_mode) == 0o700
                (ours / "of a visitor").touch()
                page.send_signal(end)
                page.wait(60)
            finally:
                page.kill()
        left.append([path for path in tmp_path.iterdir() if path.is_dir() and list(path.rglob("of a visitor"))])
    assert [len(folders) for folders in left] == [1, 0]
