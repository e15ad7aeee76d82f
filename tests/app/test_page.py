"""The page in a browser: what visitors do, what they see, what is fetched, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refused import bad_files

from conftest import REPOSITORY, make_photo
from tfmlc.io.images import Image, read_image, write_image

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MISSING = [name for name in ("gradio", "playwright") if find_spec(name) is None] + ["Chromium"] * (CHROMIUM is None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
RECORDED = """
import os, sys
def record(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        with open(os.environ["CONNECTIONS"], "a") as file:
            print(args[1][0], file=file)
sys.addaudithook(record)
"""
PATIENCE_MS = 120_000


@dataclass
class Served:
    address: str
    folder: Path

    @property
    def files(self) -> list[Path]:
        """The files of all visitors."""
        return [path for path in (self.folder / "tmp").rglob("*") if path.is_file()]

    def settles(self, count: int) -> bool:
        """Whether so few files are left after some seconds."""
        return any(len(self.files) <= count or time.sleep(0.5) for _ in range(60))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``tfmlc app`` in its own process, which records to which addresses it connects."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    (folder / "sitecustomize.py").write_text(RECORDED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join((str(folder), str(REPOSITORY / "src")))
    more = {"PYTHONPATH": paths, "TMPDIR": str(folder / "tmp"), "CONNECTIONS": str(folder / "connections")}
    command = [sys.executable, "-m", "tfmlc.cli", "app", "--port", str(port), "--upload-mb", "4"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **more}, stderr=log, stdout=log, cwd=folder)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            if (folder / "log").read_text().startswith(f"tfmlc: open {address}"):
                break
            time.sleep(0.5)
        yield Served(address, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert not list((folder / "tmp").iterdir()), "the files stay after the end of the page"
    assert "Traceback" not in (folder / "log").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser: Any, served: Served) -> Iterator[Any]:
    page = visit(browser, served)
    yield page
    page.context.close()
    assert served.settles(0), "the files of a visitor who left stay"


def visit(browser: Any, served: Served, **settings: Any) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}, **settings).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.fetched, page.errors = [], []
    page.on("request", lambda request: page.fetched.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(served.address)
    page.locator("#go").wait_for()
    return page


def upload(page: Any, *files: Path) -> None:
    page.set_input_files("input[type=file]", [str(file) for file in files])
    for file in files:
        page.locator(".file-preview").get_by_text(file.stem, exact=False).first.wait_for()


NOTE_STATUS = """() => {
    window.statuses = [];  // what is shown for a moment alone is not missed
    new MutationObserver(() => window.statuses.push(document.querySelector("#status")?.innerText ?? ""))
        .observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def deblur(page: Any) -> str:
    page.evaluate(NOTE_STATUS)
    page.locator("#go").click()
    page.wait_for_function("() => window.statuses.some((text) => text.includes('Starting'))")
    page.locator("#status").get_by_text("Finished").wait_for()
    page.wait_for_function("() => !document.querySelector('#go').disabled")
    return page.locator("#status").inner_text()


PLACE = """() => ["left", "top", "width", "height"].map(
    (side) => parseFloat(document.querySelector("#viewer .right").style[side]))"""
UNNAMED = """() => [...document.querySelectorAll("button, input, select")].filter((one) => one.offsetParent &&
    !(one.ariaLabel || one.textContent.trim() || (one.labels && one.labels.length))).map((one) => one.outerHTML)"""


def place(page: Any) -> list[float]:
    """Where the image lies in the stage."""
    return page.evaluate(PLACE)


def edge(page: Any) -> float:
    return page.evaluate("() => parseFloat(document.querySelector('#viewer .edge').style.left)")


@pytest.fixture
def blurry(tmp_path: Path) -> Path:
    sharp = make_photo(240, 320)
    blurry = np.mean([np.roll(sharp, shift, axis=1) for shift in range(-3, 4)], axis=0).round().astype(np.uint8)
    write_image(tmp_path / "photo.png", Image(blurry))
    return tmp_path / "photo.png"


def test_slide_zoom_strength_and_map(visitor: Any, served: Served, blurry: Path) -> None:
    upload(visitor, blurry)
    deblur(visitor)
    middle = edge(visitor)
    visitor.locator("#viewer .split input").press("ArrowRight")
    assert edge(visitor) > middle
    stage = visitor.locator("#viewer .stage").bounding_box()
    visitor.mouse.click(stage["x"] + stage["width"] * 0.3, stage["y"] + 50)
    assert edge(visitor) == pytest.approx(stage["width"] * 0.3, abs=12)
    whole = place(visitor)
    visitor.mouse.move(stage["x"] + stage["width"] * 0.75, stage["y"] + stage["height"] * 0.25)
    for _ in range(4):
        visitor.mouse.wheel(0, -100)
    visitor.wait_for_function(
        f"() => parseFloat(document.querySelector('#viewer .right').style.width) > {whole[2] * 2.2}"
    )
    visitor.locator("#viewer .stage").press("ArrowLeft")
    zoomed, first = place(visitor), visitor.locator("#viewer .right").get_attribute("src")
    assert zoomed[0] > whole[0] - whole[2] * 2
    visitor.locator("#strength input[type=number]").fill("0")
    visitor.get_by_text("More settings").click()
    visitor.locator("#map input").check()
    said = deblur(visitor)
    assert visitor.locator("#viewer .right").get_attribute("src") != first
    assert place(visitor) == pytest.approx(zoomed, abs=1)
    assert "px of motion" in said
    visitor.locator("#viewer .side").select_option("map")
    assert visitor.locator("#viewer .left").get_attribute("src").endswith("map.jpg")
    assert visitor.locator("#viewer .left").get_attribute("alt") == "photo.png: where it is blurred"
    visitor.locator("#viewer .fit").click()
    assert place(visitor) == pytest.approx(whole, abs=1)
    assert {url.split("/")[2] for url in visitor.fetched if not url.startswith(("data:", "blob:"))} == {
        served.address.split("/")[2]
    }
    assert visitor.errors == []
    assert set((served.folder / "connections").read_text().split()) <= {"127.0.0.1", "::1"}


def test_a_batch_with_bad_files_and_a_zip(visitor: Any, tmp_path: Path, blurry: Path) -> None:
    other = tmp_path / "other.jpg"
    write_image(other, Image(make_photo(120, 200)))
    upload(visitor, blurry, *bad_files(tmp_path / "bad"), other)
    said = deblur(visitor)
    assert "2 of 6 files done, 4 failed" in said
    for line in ("empty.jpg: is empty", "program.jpg: is not an image", "is a zip archive", "20000x15000 px"):
        assert line in said
    assert "/" not in said.replace("tfmlc deblur", "")
    with visitor.expect_download() as download:
        visitor.locator("#zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == ["other.jpg", "photo.png"]
        archive.extractall(tmp_path / "out")
    assert read_image(tmp_path / "out" / "photo.png").restored
    visitor.locator("#viewer .name").select_option(label="other.jpg")
    assert visitor.locator("#viewer .right").get_attribute("alt") == "other.jpg, after"


def test_a_file_that_is_too_large_is_refused(visitor: Any, tmp_path: Path) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(5_000_000))
    visitor.set_input_files("input[type=file]", [str(tmp_path / "large.jpg")])
    visitor.get_by_text("exceed the maximum allowed size").wait_for()


def test_cancel_and_go_on(visitor: Any, tmp_path: Path, blurry: Path) -> None:
    large = tmp_path / "large.jpg"
    write_image(large, Image(make_photo(1500, 1500)))
    upload(visitor, blurry, large)
    visitor.get_by_text("More settings").click()
    visitor.get_by_label("Tile").click()
    visitor.get_by_role("option", name="256 px").click()
    visitor.locator("#go").click()
    visitor.get_by_text("large.jpg (2 of 2)").first.wait_for()
    visitor.locator("#cancel").click()
    visitor.locator("#status").get_by_text("Stopped. 1 of 2 files done").wait_for()
    visitor.wait_for_function("() => !document.querySelector('#go').disabled")
    visitor.locator(".file-preview").get_by_label("Remove this file").last.click()
    assert "1 of 1 files done" in deblur(visitor)


def test_two_visitors_at_once_and_one_who_leaves(browser: Any, served: Served, tmp_path: Path) -> None:
    pages, colours = [visit(browser, served) for _ in range(2)], ((250, 30, 30), (30, 30, 250))
    for page, colour in zip(pages, colours, strict=True):
        folder = tmp_path / str(colour[0])
        write_image(folder / "photo.png", Image(np.full((400, 400, 3), colour, np.uint8) - make_photo(400, 400) // 9))
        upload(page, folder / "photo.png")
    for page in pages:
        page.locator("#go").click()
    for page, colour in zip(pages, colours, strict=True):
        page.locator("#status").get_by_text("Finished. 1 of 1").wait_for()
        with page.expect_download() as download:
            page.locator("a[download]").last.click()
        download.value.save_as(tmp_path / "got.png")
        assert np.abs(read_image(tmp_path / "got.png").pixels.mean(axis=(0, 1)) - colour).max() < 40
    large = tmp_path / "large.jpg"
    write_image(large, Image(make_photo(1500, 1500)))
    pages[0].locator("#go").scroll_into_view_if_needed()
    pages[0].get_by_label("Clear").first.click()
    upload(pages[0], large)
    kept = len(served.files)
    pages[0].locator("#go").click()
    pages[0].get_by_text("large.jpg (1 of 1)").first.wait_for()
    pages[0].context.close()
    assert "Finished" in deblur(pages[1])
    assert served.settles(kept // 2 + 1)
    pages[1].context.close()
    assert served.settles(0)


def test_a_run_that_waits_is_cancelled_at_once(browser: Any, served: Served, tmp_path: Path, blurry: Path) -> None:
    pages = [visit(browser, served) for _ in range(2)]
    write_image(tmp_path / "large.jpg", Image(make_photo(1500, 1500)))
    for page, file in zip(pages, (tmp_path / "large.jpg", blurry), strict=True):
        upload(page, file)
    pages[0].locator("#go").click()
    pages[0].get_by_text("large.jpg (1 of 1)").first.wait_for()
    for _ in range(2):
        pages[1].locator("#go").click()
        pages[1].locator("#status").get_by_text("Waiting for 1 other run.").wait_for()
        pages[1].locator("#cancel").click()
        pages[1].locator("#status").get_by_text("Stopped.").wait_for()
        pages[1].wait_for_function("() => !document.querySelector('#go').disabled")
    assert "Finished" not in pages[0].locator("#status").inner_text()
    pages[1].locator("#go").click()
    pages[0].locator("#cancel").click()
    pages[1].locator("#status").get_by_text("Finished. 1 of 1").wait_for()
    for page in pages:
        page.context.close()
    assert served.settles(0)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_phone(browser: Any, served: Served, blurry: Path, scheme: str) -> None:
    page = visit(browser, served, color_scheme=scheme, has_touch=True)
    page.set_viewport_size({"width": 390, "height": 844})
    upload(page, blurry)
    deblur(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("() => document.body.classList.contains('dark')") == (scheme == "dark")
    box = page.locator("#viewer .stage").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.context.close()


def test_keyboard_and_names(visitor: Any, blurry: Path) -> None:
    upload(visitor, blurry)
    visitor.locator("#go").focus()
    visitor.keyboard.press("Enter")
    visitor.locator("#status").get_by_text("Finished").wait_for()
    assert visitor.locator("#status [role=status][aria-live=polite]").count() == 1
    reached = set()
    for _ in range(40):
        visitor.keyboard.press("Tab")
        reached.add(visitor.evaluate("() => document.activeElement.className.split(' ')[0]"))
    assert {"in", "out", "fit", "stage"} <= reached
    assert visitor.evaluate(UNNAMED) == []
