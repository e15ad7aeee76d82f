"""What the page answers to a visitor, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmlc.app.limits import Limits
from tfmlc.deblur import Deblurrer
from tfmlc.io.images import Image, write_image

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio"),
]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tfmlc.app.page import Page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "root"))
    return Page(tmp_path / "root", Limits())


@pytest.fixture
def upload(tmp_path: Path, photo: np.ndarray) -> Path:
    write_image(tmp_path / "root" / "a.png", Image(photo))
    return tmp_path / "root" / "a.png"


def begin(page: Any, *uploads: Path) -> Any:
    import gradio as gr

    request = gr.Request(session_hash="visitor")
    page.begin([{"path": str(upload)} for upload in uploads], request)
    return request


def answers(page: Any, request: Any) -> Iterator[str]:
    for status, *_ in page.deblur("default", 1.0, "256 px", False, request):
        yield status


def test_the_strength_of_the_page_is_that_of_the_command_line(page: Any) -> None:
    (slider,) = (block for block in page.blocks.blocks.values() if block.elem_id == "strength")
    assert page._deblurrer("default", slider.value, None).fingerprint == Deblurrer.load("default").fingerprint
    assert "mesh" not in slider.info


def test_no_visitor_can_ask_for_a_tile_without_limit() -> None:
    from tfmlc.app.page import TILES

    assert 0 not in TILES.values()


def test_files_that_are_taken_back_while_a_run_waits(page: Any, upload: Path) -> None:
    said = answers(page, begin(page, upload))
    with page.turns.place(page.sessions.of("another")):
        assert "Waiting for 1 other run" in next(said)
        page.sessions.hold("visitor", [])
    assert list(said)[-1] == "<p>Add a photo or a video first.</p>"


def test_a_conflict_of_names_is_no_stop(page: Any, upload: Path) -> None:
    (upload.with_suffix("")).write_bytes(upload.read_bytes())
    last = list(answers(page, begin(page, upload.with_suffix(""), upload)))[-1]
    assert "Finished. 0 of 2 files done, 1 failed." in last
    assert "would both become a.png" in last


def test_a_lost_connection_is_said_and_its_key_takes_no_more(page: Any, upload: Path, photo: np.ndarray) -> None:
    lost = "<p>The connection was lost and your files were removed: reload the page.</p>"
    request = begin(page, upload)
    upload.unlink()
    assert list(answers(page, request))[-1] == lost
    page.leave(request)
    write_image(upload, Image(photo))
    assert list(answers(page, begin(page, upload))) == [lost]
    assert not upload.exists()
