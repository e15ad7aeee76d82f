"""Serving of the page: from this machine alone, with nothing fetched from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tfmlc.app.limits import MB, PORT, Limits
from tfmlc.app.turns import MOST_WAITING
from tfmlc.errors import UserError

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
        UserError: If the port is in use.
    """
    with _private_folder() as root:
        from gradio.themes import Default

        from tfmlc.app.page import Page

        blocks = Page(root, limits).blocks
        try:
            blocks.launch(
                server_name=host,
                server_port=port,
                max_threads=MOST_WAITING + 40,  # a run that waits uses one
                max_file_size=limits.upload_mb * MB,
                theme=Default(font=FONTS, font_mono=MONOSPACED).set(**COLOURS),
                css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
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
        try:
            yield blocks
        finally:
            blocks.close(verbose=False)


@contextmanager
def _private_folder() -> Generator[Path]:
    """Make a folder that only this user can read, and name it to Gradio, which looks into the environment."""
    before = os.environ.get(TEMPORARY_FOLDER)
    with TemporaryDirectory(prefix="tfmlc-app-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        os.environ[TEMPORARY_FOLDER] = str(root)
        try:
            yield root
        finally:
            os.environ.pop(TEMPORARY_FOLDER)
            if before is not None:
                os.environ[TEMPORARY_FOLDER] = before
