"""Serving of the page: from this machine alone, with nothing fetched from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfmlc.app.limits import MB, PORT, Limits
from tfmlc.app.turns import MOST_WAITING
from tfmlc.errors import UserError
from tfmlc.io.files import temporary_folder
from tfmlc.runtime.processes import environment

TEMPORARY_FOLDER = "GRADIO_TEMP_DIR"
FONTS, MONOSPACED = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")  # those that the machine has

COLOURS = {  # with enough contrast to read
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_800",
    "button_cancel_background_fill": "#b91c1c",
    "button_cancel_background_fill_hover": "#991b1b",
}

ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/|^/gradio_api/proxy=")  # with one slash, too: what is in between can drop one


class _FilesAlone:
    """Refuses a request whose path names an address: Gradio would fetch it for whoever asks."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        refused = ADDRESS.search(scope.get("path", ""))
        answer = PlainTextResponse("Only files of this page are served.", 403) if refused else self.app
        await answer(scope, receive, send)


@contextmanager
def serving(limits: Limits, *, host: str = "127.0.0.1", port: int = PORT) -> Generator[Any]:
    """Serve the page in the background within a context.

    Args:
        limits: What the page takes.
        host: The address to listen at.
        port: The port.

    Yields:
        The ``Blocks`` of Gradio; its ``local_url`` is the address of the page.

    Raises:
        UserError: If the page cannot be served, for example because the port is in use.
    """
    with temporary_folder() as folder:
        root = folder.resolve()  # only this user can read it
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "*")  # Gradio asks its own page whether it is there
        with environment({TEMPORARY_FOLDER: str(root), **direct}):
            from tfmlc.app.page import Page

            blocks = Page(root, limits).blocks
            try:
                _launch(blocks, limits, host.strip("[]"), port)
                yield blocks
            finally:
                blocks.close(verbose=False)


def _launch(blocks: Any, limits: Limits, host: str, port: int) -> None:
    from gradio.themes import Default
    from starlette.middleware import Middleware

    try:
        blocks.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            max_threads=MOST_WAITING + 40,  # a run that waits uses one
            max_file_size=limits.upload_mb * MB,
            theme=Default(font=FONTS, font_mono=MONOSPACED).set(**COLOURS),
            css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
            app_kwargs={"middleware": [Middleware(_FilesAlone)]},
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            share=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
        )
    except OSError as error:
        raise UserError(
            f"cannot serve at {host}, port {port}: it is in use or not allowed; choose another port"
        ) from error
    except Exception as error:  # Gradio and the packages below it raise many types
        raise UserError(f"cannot serve at {host}, port {port}: {error or type(error).__name__}") from error
