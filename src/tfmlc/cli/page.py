"""The page in the browser."""

from __future__ import annotations

import signal
from contextlib import suppress
from threading import Event
from typing import Annotated

import typer

from tfmlc.app.limits import MEGAPIXELS, PORT, UPLOAD_MB, Limits
from tfmlc.cli.tree import app, one_line_errors, say

Host = Annotated[str, typer.Option(help="Address to listen at. The default is this machine alone.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")]
UploadMb = Annotated[int, typer.Option(min=1, help="Largest file that is taken, in MB.")]
Megapixels = Annotated[float, typer.Option(min=0.01, help="Largest photo or video frame that is taken, in megapixels.")]


@app.command("app")
def page(
    host: Host = "127.0.0.1",
    port: Port = PORT,
    upload_mb: UploadMb = UPLOAD_MB,
    megapixels: Megapixels = MEGAPIXELS,
) -> None:
    """Serve a page to deblur photos and videos in the browser, on this machine."""
    with one_line_errors():
        from tfmlc.app.serving import serving

        _end_on("SIGTERM", "SIGHUP")
        host = host.strip("[]")
        with serving(Limits(upload_mb, megapixels), host=host, port=port) as blocks:
            say(f"tfmlc: open {blocks.local_url} in a browser; Ctrl+C ends the page and removes its files")
            if host not in ("127.0.0.1", "localhost", "::1"):
                say("tfmlc: everybody who reaches this machine can use the page")
            with suppress(KeyboardInterrupt):
                Event().wait()


def _end_on(*names: str) -> None:
    """Let signals end the page as Ctrl+C does, so that the files are removed; what nohup ignores stays ignored."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    caught = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]

    def end(*_: object) -> None:
        for number in caught:  # a closed terminal can send two
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in caught:
        signal.signal(number, end)
