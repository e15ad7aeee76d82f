"""The cells of the paper's Tables 1 to 3: a training run and a dataset each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tfmlc.backbones import Block
from tfmlc.reproduce import paper

TableName = Literal["table1", "table2", "table3"]


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: The name of the run.
        preset: The preset of the run.
        settings: Settings that replace those of the preset.
        backbone: The backbone of the loss, if it has one.
        block: The block of the loss.
        adapted: Whether the loss needs an adapter.
    """

    name: str
    preset: str
    settings: tuple[str, ...] = ()
    backbone: str | None = None
    block: Block = 3
    adapted: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of the grid.

    Attributes:
        run: The training run.
        dataset: The dataset to score it on.
        paper: The paper's values.
    """

    run: Run
    dataset: str
    paper: Mapping[str, float]

    @property
    def name(self) -> str:
        """The name of the scores file."""
        return f"{self.dataset}-{self.run.name}"


def cells_of(table: TableName, backbone: str) -> list[Cell]:
    """Return all cells of a table.

    >>> len(cells_of("table1", "clip-vit-b16")), len(cells_of("table2", "")), len(cells_of("table3", "clip-vit-b16"))
    (18, 5, 6)
    """
    if table == "table1":
        runs = {
            (network, loss): Run(
                f"{network}-{loss}",
                f"{network}-gopro-{loss}",
                () if loss == "control" else (f"loss.backbone={backbone}",),
                None if loss == "control" else backbone,
                adapted=loss == "tfmlc",
            )
            for network in ("mprnet-lite", "hinet")
            for loss in paper.LOSSES
        }
        return [Cell(run, place, paper.table1(*key, place)) for place in paper.SETS for key, run in runs.items()]
    if table == "table2":
        return [
            Cell(
                Run(
                    f"hinet-{name}-final",
                    "hinet-gopro-fmlc",
                    (f"loss.backbone={name}", "loss.block=final"),
                    name,
                    "final",
                ),
                "GoPro",
                paper.table2(name),
            )
            for name in paper.BACKBONES
        ]
    return [
        Cell(
            Run(
                f"hinet-{backbone}-{block}",
                "hinet-gopro-tfmlc",
                (f"loss.backbone={backbone}", f"loss.block={block}"),
                backbone,
                block,
                adapted=True,
            ),
            "GoPro",
            paper.table3(block),
        )
        for block in paper.BLOCKS
    ]
