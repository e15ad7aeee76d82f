"""The server of the page: where it listens, what it needs, and which requests it refuses."""

from __future__ import annotations

import socket
import sys
from importlib.util import find_spec
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest
from typer.testing import CliRunner

from tfmlc.app.limits import Limits
from tfmlc.app.serving import ADDRESS, serving
from tfmlc.cli import app

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
