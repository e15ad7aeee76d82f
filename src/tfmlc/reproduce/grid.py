"""The paper's Tables 1 to 3 as a grid of runs: which are finished, which can run, and which files are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tfmlc.backbones import BACKBONES, RANDOM
from tfmlc.config import checked, override
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.sets import SetConfig, synthesize
from tfmlc.data.synthesis.videos import VideoBlurConfig
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.identity import read_sections
from tfmlc.evaluation.report import write_report
from tfmlc.evaluation.sources import RestoreSettings
from tfmlc.evaluation.tables import beside_published, markdown
from tfmlc.io import locks
from tfmlc.io.images import Image, write_image
from tfmlc.io.locks import WAIT_FOREVER_S, claimed
from tfmlc.io.weights import kept_weights
from tfmlc.metrics.registry import unavailable
from tfmlc.reproduce import paper
from tfmlc.reproduce.cells import Cell, Run, TableName, cells_of
from tfmlc.reproduce.inputs import GridConfig, check_folders, missing
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt import adapt
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import train_network

REHEARSAL = "Rehearsal: tiny networks on generated images. The numbers only show that the code runs."
MISSING = "missing: "
METRICS = ("brisque", "pi", "lpips", "pieapp")
QUICK_PHOTOS, QUICK_PX = 6, 256


@dataclass(frozen=True)
class MadeTable:
    """A table of the paper, as far as its cells are finished.

    Attributes:
        text: The state of each cell and the table beside the paper's values, as Markdown.
        missing: The names of the cells that cannot run, because data or weights are missing.
    """

    text: str
    missing: list[str]


def reproduce_table(
    table: TableName, config: GridConfig, output: Path, work: Path, *, quick: bool = False
) -> MadeTable:
    """Run all cells of a table that can run and are not finished.

    Several machines can do this at once if they share both folders: each takes cells that no other one works on, and
    takes over those of a machine that has stopped. The table is made from what is in ``output``.

    Args:
        table: The table.
        config: The settings.
        output: The folder for the scores and a report.
        work: The folder for everything else.
        quick: Whether to rehearse: with generated images, tiny networks and, if weights are missing, random weights.
            This runs the code of every cell. The numbers mean nothing, so they are not compared with the paper's.

    Returns:
        The table, and the cells that are missing.

    Raises:
        UserError: If data does not exist, or ``output`` has scores with other settings or of a rehearsal.
    """
    cells = cells_of(table, config.backbone)
    check_folders(config)
    files = {cell.name: output / f"{cell.name}.json" for cell in cells}
    for cell in cells:
        _check_done(files[cell.name], _settings(cell, config, quick=quick))
    if quick:
        with claimed(work / "claims" / "data", wait_s=WAIT_FOREVER_S):
            config = _quick_data(config, work)
    Grid(config, work, files, quick=quick).run(cells)
    states = {cell.name: _state(cell, config, files[cell.name], quick=quick) for cell in cells}
    plan = [f"- {name}: {state}" for name, state in states.items()]
    rows = [_row(cell, files[cell.name], quick=quick) for cell in cells]
    if done := [path for path in files.values() if path.exists()]:
        plan.append(f"- report: {write_report(done, output)}")
    write_result(output / "summary.json", {"table": table, "rehearsal": quick, "rows": rows})
    text = "\n".join([*plan, "", *([REHEARSAL, ""] if quick else []), as_table(rows)])
    return MadeTable(text, [name for name, state in states.items() if state.startswith(MISSING)])


def _state(cell: Cell, config: GridConfig, file: Path, *, quick: bool) -> str:
    if file.exists():
        return "done"
    lacks = missing(cell, config, quick=quick)
    return f"{MISSING}{'; '.join(lacks)}" if lacks else "another process works on it: run the same command again later"


class Grid:
    """Runs cells in the folders that several machines can share.

    Args:
        config: The settings.
        work: The folder of the runs and claims.
        files: The scores file of each cell, by the cell's name.
        quick: Whether it is a rehearsal.
    """

    def __init__(self, config: GridConfig, work: Path, files: Mapping[str, Path], *, quick: bool) -> None:
        self.config, self.work, self.files, self.quick = config, work, files, quick
        self.reasons = unavailable(METRICS)

    def run(self, cells: Sequence[Cell]) -> None:
        """Run the cells that can run, first those that are free, then those whose process has stopped."""
        able = [cell for cell in cells if not missing(cell, self.config, quick=self.quick)]
        with Progress("cells", len(cells)) as progress:
            for reason in self.reasons.values():
                progress.say(reason)
            alive: set[str] = set()
            for wait_s in (0.0, 1.5 * locks.LEASE_S):
                for cell in able:
                    if self.files[cell.name].exists() or (wait_s and cell.run.name in alive):
                        continue
                    if wait_s:
                        progress.say(f"{cell.name}: waiting to see whether the process that works on it lives")
                    with claimed(self.work / "claims" / cell.run.name, wait_s=wait_s) as mine:
                        if mine and not self.files[cell.name].exists():
                            progress.say(f"{cell.name}: running")
                            self._run(cell)
                    if wait_s and not mine:
                        alive.add(cell.run.name)
                    progress.update(sum(file.exists() for file in self.files.values()))

    def _run(self, cell: Cell) -> None:
        """Train and score a cell, beside the paper's values unless it is a rehearsal."""
        weights = _train(cell.run, self.config, self.work, quick=self.quick)
        folder, network = self.config.dataset(cell.dataset), cell.run.preset.split("-")[0]
        assert folder is not None
        published = {} if self.quick else {"published": paper.as_columns(network, dict(cell.paper))}
        evaluate(
            {str(weights): self.files[cell.name]},
            folder,
            metrics=[name for name in METRICS if name not in self.reasons],
            protocols=[paper.protocol_of(network)],
            restoring=RestoreSettings(official=True),
            more={**_settings(cell, self.config, quick=self.quick), **published},
        )


def _settings(cell: Cell, config: GridConfig, *, quick: bool) -> dict[str, Any]:
    """Return what the scores file of a cell says about its settings, in addition to its weights and images."""
    made = {"cell": cell.name, "backbone": cell.run.backbone, "train": config.train, "adapt": config.adapt}
    return {"rehearsal": quick, "reproduces": made}


def _check_done(path: Path, settings: dict[str, Any]) -> None:
    """Raise UserError if a scores file exists that was made with other settings."""
    if not path.exists():
        return
    for section in read_sections(path):
        if bool(section.get("rehearsal")) != settings["rehearsal"]:
            kind = "a rehearsal (--quick)" if section.get("rehearsal") else "a run without --quick"
            raise UserError(f"{path} has the scores of {kind}: choose another -o")
        if section.get("reproduces", settings["reproduces"]) != settings["reproduces"]:
            raise UserError(f"{path} was made with other settings ({section['reproduces']}): choose another -o")


def _train(run: Run, config: GridConfig, work: Path, *, quick: bool) -> Path:
    """Train the adapter and the network of a run; return the weights. Finished parts are not repeated."""
    settings = [*run.settings, f"data.pairs={config.gopro}"]
    source = "hub"
    if quick and run.backbone is not None and kept_weights(run.backbone, BACKBONES[run.backbone].download) is None:
        source = RANDOM
    if run.backbone is not None:
        settings.append(f"loss.weights={source}")
    if run.adapted:
        adapter = work / "adapters" / f"{run.backbone}-{run.block}.safetensors"
        assert config.triplets is not None
        values: dict[str, Any] = {"backbone": run.backbone, "block": run.block, "weights": source}
        if quick:
            values |= {"mode": "token", "hidden": 16, "views": 1, "epochs": 2, "held_out_fraction": 0.3}
        with claimed(work / "claims" / adapter.stem, wait_s=WAIT_FOREVER_S):  # other runs need the same adapter
            adapt(config.triplets, adapter, checked(AdaptConfig, override(values, config.adapt)))
        settings.append(f"loss.adapter={adapter}")
    if quick:
        settings += ["loop.steps=4", "loop.workers=0"]
    recipe = load_recipe(run.preset, [*settings, *config.train], smoke=quick)
    return train_network(recipe, work / "runs" / run.name)


def _quick_data(config: GridConfig, work: Path) -> GridConfig:
    """Make pairs and triplets of generated images, and use them for the sets that the settings do not name."""
    photos = work / "photos"
    for number in range(QUICK_PHOTOS):
        path = photos / f"{number}.png"
        if not path.exists():
            write_image(path, Image(generated_photo(QUICK_PX, number)))
    blur, video = BlurConfig(strength_px=(3, 9)), VideoBlurConfig(levels=2)
    synthesize([photos], work / "pairs", SetConfig(kind="pairs", images="photos", blur=blur), workers=1)
    synthesize(
        [photos], work / "triplets", SetConfig(kind="triplets", images="photos", blur=blur, video=video), workers=1
    )
    values = config.model_dump()
    for key in ("gopro", "realblur_j", "realblur_r"):
        values[key] = values[key] or work / "pairs"
    values["triplets"] = values["triplets"] or work / "triplets"
    return checked(GridConfig, values)


def generated_photo(side_px: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Generate an image with edges, texture and noise at many scales, uint8 ``h w 3``.

    >>> generated_photo(64, 0).shape
    (64, 64, 3)
    """
    rng = np.random.default_rng([17, seed])
    image = np.full((side_px, side_px, 3), 128, np.uint8)
    for _ in range(40):
        colour = tuple(map(int, rng.integers(0, 256, 3)))
        corners = rng.integers(-side_px // 4, side_px * 5 // 4, (4, 2)).astype(np.int32)
        cv2.fillPoly(image, [corners], colour, lineType=cv2.LINE_AA)
        centre = tuple(map(int, rng.integers(0, side_px, 2)))
        cv2.circle(image, centre, int(rng.integers(2, side_px // 10)), colour[::-1], 2, cv2.LINE_AA)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def _row(cell: Cell, path: Path, *, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = read_sections(path)[0]["mean"] if path.exists() else {}
    ours = {key.rpartition("/")[2]: value for key, value in found.items()}
    row: dict[str, Any] = {"set": cell.dataset, "run": cell.run.name, "ours": ours}
    return {**row, "rehearsal": True} if quick else {**row, "paper": dict(cell.paper)}


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format our values, the paper's and the differences as a Markdown table. A dash stands for a missing value.

    Rows of a rehearsal have no values of the paper beside them.
    """
    lines: list[list[str]] = []
    for row in rows:
        texts = beside_published(row["ours"], row.get("paper", {}), paper.COLUMNS)
        kinds = {"rehearsal": texts["ours"]} if row.get("rehearsal") else texts
        for kind, cells in kinds.items():
            names = [row["set"], row["run"]] if kind in ("ours", "rehearsal") else ["", ""]
            lines.append([*names, kind, *cells])
    return markdown(["set", "run", "", *paper.COLUMNS], lines, labels=3)
