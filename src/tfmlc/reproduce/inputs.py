"""What the cells of the paper's tables need: datasets, weights and triplets, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from tfmlc.backbones import BACKBONES
from tfmlc.config import Config
from tfmlc.data.datasets.public import PUBLIC_SETS
from tfmlc.errors import UserError
from tfmlc.io.weights import FOLDER_VARIABLE, find_model, kept_weights
from tfmlc.reproduce.cells import Cell, Run
from tfmlc.training.presets import load_recipe
from tfmlc.training.train import TrainConfig

DATASETS = {
    "GoPro": ("gopro", "gopro"),
    "RealBlur-J": ("realblur_j", "realblur"),
    "RealBlur-R": ("realblur_r", "realblur"),
}
AUTHORS = {"HINet": "https://github.com/megvii-model/HINet", "MPRNet": "https://github.com/swz30/MPRNet"}


class GridConfig(Config):
    """The settings of a table: where the data is, and which settings of the paper's runs are changed."""

    gopro: Path | None = Field(default=None, description="folder of GOPRO_Large")
    realblur_j: Path | None = Field(default=None, description="folder of RealBlur-J, or its RealBlur_J_test_list.txt")
    realblur_r: Path | None = Field(default=None, description="folder of RealBlur-R, or its RealBlur_R_test_list.txt")
    triplets: Path | None = Field(default=None, description="folder of triplets, made by tfmlc synthesize triplets")
    backbone: str = Field(default="clip-vit-b16", description="backbone of Tables 1 and 3")
    train: list[str] = Field(default_factory=list[str], description="settings for every training run, as KEY=VALUE")
    adapt: list[str] = Field(default_factory=list[str], description="settings for every adapter, as KEY=VALUE")
    tflops: float = Field(
        default=6.8, gt=0, description="only for the plan: sustained speed of your GPU in TFLOP/s of fp32"
    )

    def dataset(self, name: str) -> Path | None:
        """Return the folder of a dataset of the tables."""
        folder: Path | None = getattr(self, DATASETS[name][0])
        return folder


@dataclass(frozen=True)
class Input:
    """A file or folder that a cell needs.

    Attributes:
        name: What it is.
        source: Where to get it.
        way: How to give it to tfmlc.
        sha256: Its checksum, if one is known.
        place: Where it is on this machine, or None.
    """

    name: str
    source: str
    way: str
    sha256: str
    place: Path | None

    @property
    def lack(self) -> str:
        """What to say if it is missing."""
        return f"{self.name} from {self.source}: {self.way}"

    def explain(self) -> str:
        """Return a line for a person."""
        checksum = f", sha256 {self.sha256}" if self.sha256 else ""
        return (
            f"{self.name} from {self.source}{checksum}: {f'at {self.place}' if self.place else f'MISSING, {self.way}'}"
        )


def check_folders(config: GridConfig) -> None:
    """Raise UserError if a folder of the settings does not exist."""
    for key in ("gopro", "realblur_j", "realblur_r", "triplets"):
        folder: Path | None = getattr(config, key)
        if folder is not None and not folder.exists():  # RealBlur can be a list, which is a file
            raise UserError(f"{key}={folder} does not exist: correct the path")


def recipe_of(run: Run, config: GridConfig) -> TrainConfig:
    """Return the recipe of a run; its adapter is a placeholder."""
    adapter = ["loss.adapter=adapter.safetensors"] if run.adapted else []
    return load_recipe(run.preset, [*run.settings, *adapter, *config.train])


def inputs_of(cell: Cell, config: GridConfig) -> list[Input]:
    """Return what a cell needs."""
    found = [_dataset(name, config) for name in dict.fromkeys(("GoPro", cell.dataset))]
    if start := recipe_of(cell.run, config).network.start:
        weights = find_model(start)
        source = next((page for name, page in AUTHORS.items() if str(start).startswith(name)), "its authors")
        way = f"put the official GoPro weights under that name into the folder that {FOLDER_VARIABLE} names"
        found.append(Input(str(start), source, way, "", weights if weights.is_file() else None))
    if cell.run.backbone is not None:
        download = BACKBONES[cell.run.backbone].download
        way, place = f"tfmlc models fetch {cell.run.backbone}", kept_weights(cell.run.backbone, download)
        found.append(Input(download.file, download.url, way, download.sha256, place))
    if cell.run.adapted:
        videos = PUBLIC_SETS["gopro-videos"]
        way = "tfmlc synthesize triplets GOPRO_Large_all/train -o triplets, and set triplets=triplets"
        found.append(Input("triplets", f"the frames of {videos.file} ({videos.page})", way, "", config.triplets))
    return found


def _dataset(name: str, config: GridConfig) -> Input:
    key, public = DATASETS[name]
    known = PUBLIC_SETS[public]
    source = f"{known.file}, {known.address or known.page}"
    return Input(name, source, f"see tfmlc data {public}, and set {key}=FOLDER", known.sha256, config.dataset(name))


def missing(cell: Cell, config: GridConfig, *, quick: bool) -> list[str]:
    """Return what a cell lacks and where to get it, one line each; a rehearsal needs the datasets alone."""
    return [
        needed.lack
        for needed in inputs_of(cell, config)
        if needed.place is None and (not quick or needed.name in DATASETS)
    ]
