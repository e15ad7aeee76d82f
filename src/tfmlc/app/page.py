"""The page: its parts, and what happens when they are used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import gradio as gr
import gradio_client.utils

from tfmlc.app.limits import Limits
from tfmlc.app.session import Session, Sessions
from tfmlc.app.turns import MOST_WAITING, Turns
from tfmlc.app.work import OnStep, Result, restore_uploads, write_zip
from tfmlc.deblur import Deblurrer
from tfmlc.errors import UserError
from tfmlc.io.weights import shipped_models

HERE = Path(__file__).parent
TILES = {"what fits into memory": None, "256 px": 256, "512 px": 512, "1024 px": 1024}
AUTOMATIC = next(iter(TILES))
ANNOUNCED = "element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');"
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
CLEANING_S = (3600, 86400)  # every hour, uploads that are a day old
Uploads = Sequence[dict[str, Any]]  # as the browser names them; Gradio's preprocessing leaves an empty file for each
KIND = {True: "failed", False: "done"}
MODELS_KEPT = 2  # in memory
NOTHING = "Add a photo or a video first."
LOST = "The connection was lost and your files were removed: reload the page."


class _Private(gr.Blocks):
    """Blocks that take uploaded files alone: Gradio itself would also fetch the address that a request names."""

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        def refuse(file: dict[str, Any]) -> None:
            if "://" in file["path"]:
                raise gr.Error("Only uploaded files are taken.")

        clients = cast(Any, gradio_client.utils)  # partly without types
        clients.traverse(inputs, refuse, clients.is_file_obj_with_meta)
        super().validate_inputs(block_fn, inputs)


class Page:
    """The page and its visitors. One run works at a time; the others wait for their turn.

    Args:
        root: The folder for all files; ``GRADIO_TEMP_DIR`` names it, too.
        limits: What the page takes.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.sessions, self.turns, self.limits = Sessions(root), Turns(), limits
        self._deblurrer = lru_cache(MODELS_KEPT)(_load)
        self.blocks = self._build()

    def _build(self) -> gr.Blocks:
        with _Private(title="tfmlc", analytics_enabled=False, delete_cache=CLEANING_S) as blocks:
            gr.Markdown(
                "# Deblur photos and videos\n"
                f"Each file up to {self.limits.upload_mb} MB, and {self.limits.megapixels:g} megapixels. "
                "The files stay on the machine that runs this page, and are removed when you close it."
            )
            with gr.Row(equal_height=False):
                with gr.Column(scale=1, min_width=300):
                    files = gr.File(label="Photos or videos", file_count="multiple", height=180)
                    with gr.Row():
                        go = gr.Button("Deblur", variant="primary", elem_id="go", min_width=100)
                        cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel", min_width=100)
                    progress = gr.HTML(elem_id="progress", apply_default_css=False)
                    status = gr.HTML(js_on_load=ANNOUNCED, elem_id="status", apply_default_css=False)
                    settings = _settings()
                with gr.Column(scale=2, min_width=320):
                    viewer = _viewer()
                    results = gr.File(label="Results", file_count="multiple", interactive=False, visible=False)
                    archive = gr.DownloadButton("Download all as zip", visible=False, elem_id="zip")
            files.change(self.hold, files, None, preprocess=False, **QUIET)
            run = go.click(self.begin, files, [go, cancel], preprocess=False, **QUIET).then(
                self.deblur,
                settings,
                [status, viewer, results, archive],
                show_progress_on=progress,
                concurrency_limit=None,  # runs wait for their turn themselves, so that they can be cancelled
                api_visibility="private",
            )
            run.then(self.end, None, [go, cancel], **QUIET)
            cancel.click(self.cancel, None, [cancel], **QUIET)
            blocks.unload(self.leave)
        return blocks.queue()

    def hold(self, files: Uploads | None, request: gr.Request) -> None:
        """Remember the files that a visitor has uploaded; Gradio has checked that they are uploads."""
        self.sessions.hold(_key(request), [Path(file["path"]) for file in files or ()])

    def begin(self, files: Uploads | None, request: gr.Request) -> tuple[Any, Any]:
        """Begin a run."""
        self.hold(files, request)
        self.sessions.of(_key(request)).begin()
        return gr.update(interactive=False), gr.update(interactive=True)

    def cancel(self, request: gr.Request) -> Any:
        """Stop the run of a visitor after the tile or frame it works at."""
        self.sessions.of(_key(request)).stop.set()
        return gr.update(interactive=False)

    def end(self) -> tuple[Any, Any]:
        """End a run."""
        return gr.update(interactive=True), gr.update(interactive=False)

    def leave(self, request: gr.Request) -> None:
        """Remove everything of a visitor who left."""
        self.sessions.close(_key(request))

    def deblur(
        self,
        model: str,
        strength: float,
        tile: str,
        blur_map: bool,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio's way)
    ) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Wait for a turn, restore the files, and show each result as soon as it is there."""
        session = self.sessions.of(_key(request))
        if session.closed or not session.uploads:
            yield _only(LOST if session.closed else NOTHING)
            return
        with self.turns.place(session) as waiting:
            for before in waiting:
                if before > MOST_WAITING:
                    yield _only("Too many visitors are waiting. Try again later.")
                    return
                yield _only(f"Waiting for {before} other {'run' if before == 1 else 'runs'}.")
            if session.stop.is_set():
                yield _only("Stopped.")
                return
            yield _only("Starting.")
            try:
                deblurrer = self._deblurrer(model, strength if model == "default" else None, TILES[tile])
            except UserError as error:
                yield _only(str(error))
                return

            def on_step(what: str, done: int, total: int | None) -> None:
                progress((done, total), desc=what)

            try:
                yield from self._restored(deblurrer, session, on_step, blur_map=blur_map)
            except FileNotFoundError:
                yield _only(LOST)
            except OSError as error:  # the uploads cannot be copied
                yield _only(str(error.strerror))

    def _restored(
        self, deblurrer: Deblurrer, session: Session, on_step: OnStep, *, blur_map: bool
    ) -> Iterator[tuple[Any, Any, Any, Any]]:
        files, results, hidden = session.uploads, list[Result](), gr.update(value=None, visible=False)
        if not files:  # they were taken back while the run waited
            yield _only(NOTHING)
            return
        for result in restore_uploads(deblurrer, session, files, self.limits, on_step, blur_map=blur_map):
            results.append(result)
            yield (
                _status(results, _counted(results, len(files))),
                _viewed(results),
                _files(results),
                hidden,
            )
        ended = "Stopped." if session.stop.is_set() and len(results) < len(files) else "Finished."
        try:
            archive = write_zip(results)
        except OSError as error:
            archive, ended = None, f"{ended} There is no zip: {error.strerror}."
        yield (
            _status(results, f"{ended} {_counted(results, len(files))}"),
            _viewed(results) if results else gr.skip(),
            _files(results),
            gr.update(value=archive and str(archive), visible=archive is not None),
        )


def _settings() -> list[Any]:
    """Add the settings of a run: strength, model, tile and blur map."""
    models = list(shipped_models())
    meaning = "0: close to the photo. 1: looks sharper."
    strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", info=meaning, elem_id="strength")
    with gr.Accordion("More settings", open=False):
        blur_map = gr.Checkbox(label="Blur map", info="Measure how blurred the files are, and where.", elem_id="map")
        model = gr.Dropdown(
            models, value=models[0], label="Model", info="Only default has a strength.", elem_id="model"
        )
        tile = gr.Dropdown(list(TILES), value=AUTOMATIC, label="Tile", info="Smaller tiles need less memory.")
    model.change(_has_strength, model, strength, **QUIET)
    return [model, strength, tile, blur_map]


def _has_strength(model: str) -> Any:
    return gr.update(interactive=model == "default")


def _viewer() -> gr.HTML:
    """Add the view of before and after."""
    return gr.HTML(
        value={"items": []},
        html_template=_text("viewer.html"),
        js_on_load=_text("viewer.js"),
        apply_default_css=False,
        elem_id="viewer",
    )


def _load(model: str, strength: float | None, tile_px: int | None) -> Deblurrer:
    return Deblurrer.load(model, strength=strength, tile_px=tile_px)


def _key(request: gr.Request) -> str:
    key = request.session_hash
    assert key is not None
    return key


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _only(line: str) -> tuple[Any, Any, Any, Any]:
    """Show one line and no results."""
    kept = cast(Any, gr).skip()
    hidden: Any = gr.update(value=None, visible=False)
    return _said(line), kept, hidden, hidden


def _said(line: str) -> str:
    return f"<p>{escape(line)}</p>"


def _counted(results: Sequence[Result], total: int) -> str:
    failed = sum(result.target is None for result in results)
    return f"{len(results) - failed} of {total} files done{f', {failed} failed' if failed else ''}."


def _status(results: Sequence[Result], line: str) -> str:
    rows = "".join(
        f'<li class="{KIND[result.target is None]}"><b>{escape(result.name)}</b>: {escape(result.line)}'
        for result in results
    )
    return f"{_said(line)}<ul>{rows}</ul>"


def _viewed(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "items": [
            {"name": result.name, **{view: f"gradio_api/file={quote(path)}" for view, path in result.views.items()}}
            for result in results
            if result.views
        ]
    }


def _files(results: Sequence[Result]) -> Any:
    files = [str(result.target) for result in results if result.target is not None]
    return gr.update(value=files or None, visible=bool(files))
