"""The pairs that a deblurring network is trained on: one source, or a mixture of several."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, model_validator
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.config import Config
from tfmlc.data.datasets.crops import PairCrops, prepare_crops
from tfmlc.data.datasets.mixture import Mixture, PreparedPairs, prepare
from tfmlc.data.datasets.pairs import BlurKind, check_pairs, chosen_pairs, count_remark, find_pairs, is_chosen
from tfmlc.data.datasets.synthetic import Blurs, SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.data.synthesis.motion_spectrum import FREQUENCIES
from tfmlc.errors import UserError
from tfmlc.io.images import find_images
from tfmlc.runtime.progress import Progress

Pairs = Dataset[tuple[Tensor, ...]]
PREPARED_SEED = 0  # whatever the seed of the run is: several runs read the same prepared pairs


class SourceConfig(Config):
    """The settings of one source of pairs: either sharp photos, which are blurred on the fly, or ready pairs."""

    photos: list[Path] = Field(
        default_factory=list[Path], description="sharp photos, and folders of them, which are blurred on the fly"
    )
    pairs: Path | None = Field(
        default=None, description="folder of ready pairs: one with blur/ and sharp/, GOPRO_Large, RealBlur or HIDE"
    )
    blur_kind: BlurKind = Field(
        default="blur", description="GoPro only: blur averages stored values, blur_gamma linear light"
    )
    only: list[str] = Field(default_factory=list[str], description="name patterns of the files to use; empty: all")
    exclude: list[str] = Field(default_factory=list[str], description="name patterns of the files to leave out")
    fraction: float = Field(
        default=1.0, gt=0, description="sources: how often this source is drawn, relative to the others"
    )
    scale: tuple[float, float] = Field(
        default=(0.4, 1.0), description="photos: range of the factor by which they are shrunk"
    )
    prepare: int | None = Field(
        default=None,
        ge=1,
        description="photos: number of pairs that are made once, with seed 0, and then read from disk; None: none",
    )
    prepared_px: int = Field(
        default=224, ge=16, description="photos: side of the prepared pairs; each use takes a random patch of a pair"
    )
    crop_px: int | None = Field(
        default=None, ge=16, description="pairs: side of the crops into which pairs are cut once; None: not cut"
    )
    crop_step_px: int = Field(default=256, ge=1, description="pairs: distance from one crop to the next")
    crops: Path | None = Field(
        default=None, description="pairs: folder for the crops; None: next to the folder of the run"
    )
    saturation: float = Field(default=0.0, ge=0, le=1, description="pairs: largest random change of colour saturation")
    blur: BlurConfig = BlurConfig()
    easy: BlurConfig | None = Field(
        default=None, description="photos: settings of a simpler blur for part of the pairs"
    )
    easy_fraction: float = Field(
        default=0.0, ge=0, le=1, description="photos: fraction of the pairs that get the simpler blur"
    )


class DataConfig(SourceConfig):
    """The settings of the training data: one source, or a mixture of several in ``sources``."""

    patch_px: int = Field(default=192, ge=16, description="side of the patches that the network sees")
    sources: dict[str, SourceConfig] = Field(
        default_factory=dict[str, SourceConfig], description="several sources to mix, by name"
    )
    prepared: Path | None = Field(
        default=None, description="folder for prepared pairs; None: next to the folder of the run"
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> DataConfig:
        for source in (self, *self.sources.values()):
            if source.crop_px is not None and source.crop_px < self.patch_px:
                raise ValueError(f"crop_px={source.crop_px} is smaller than patch_px={self.patch_px}")
            if source.prepare is not None and source.prepared_px < self.patch_px:
                raise ValueError(f"prepared_px={source.prepared_px} is smaller than patch_px={self.patch_px}")
        return self


@dataclass(frozen=True)
class Draw:
    """The items that a run takes from a dataset.

    Attributes:
        length: The number of items.
        seed: The seed of the random choices.
        cell_px: The side of a cell of the blur's spectrum in px, if the network learns the spectrum.
    """

    length: int
    seed: int
    cell_px: int | None = None


def build_dataset(data: DataConfig, draw: Draw, folder: Path) -> Pairs:
    """Build the dataset of a run, with one pair for every item of every batch.

    Pairs are checked first. They are cut into crops, or prepared, if the settings say so. Prepared pairs are always
    made with seed 0, so that runs with different seeds share them. The seed of a run chooses their order and patches.

    Args:
        data: The settings of the data.
        draw: How many items are needed, and how they are drawn.
        folder: The folder of the run. Crops and prepared pairs are written next to it by default.

    Returns:
        A dataset of ``(blurry, sharp)``, or ``(blurry, sharp, spectrum)`` if ``draw`` has cells.

    Raises:
        UserError: If a source is missing, cannot be read, or does not fit the others.
    """
    if not data.sources:
        return _build_source(data, "photos", data, draw, folder)
    _check_beside_sources(data)
    sources = {
        name: (source.fraction, _build_source(source, name, data, draw, folder))
        for name, source in data.sources.items()
    }
    spectrum = None if draw.cell_px is None else (len(FREQUENCIES), data.patch_px // draw.cell_px)
    return Mixture(sources, length=draw.length, seed=draw.seed, spectrum=spectrum)


def _check_beside_sources(data: DataConfig) -> None:
    """Raise UserError if a setting of a source is set beside the sources, where nothing would read it."""
    given, first = data.model_dump(), next(iter(data.sources))
    for name, default in SourceConfig().model_dump().items():
        if given[name] != default:
            hint = f"move it into a source, as data.sources.{first}.{name}, and leave data.{name} at its default"
            raise UserError(f"data.sources replaces data.{name}: {hint}")


def _build_source(source: SourceConfig, name: str, data: DataConfig, draw: Draw, folder: Path) -> Pairs:
    if bool(source.photos) == (source.pairs is not None):
        place = "data" if source is data else f"data.sources.{name}"
        raise UserError(
            f"set either {place}.photos=[FOLDER] (sharp photos) or {place}.pairs=FOLDER (with blur/ and sharp/)"
        )
    if source.pairs is None:
        return _synthetic(source, name, data, draw, folder)
    pairs = chosen_pairs(find_pairs(source.pairs, split="train", blur=source.blur_kind), source.only, source.exclude)
    if not pairs:
        raise UserError(f"the patterns data.only and data.exclude leave no pair of {source.pairs}: change them")
    check_pairs(pairs)
    if remark := count_remark(source.pairs, "train", pairs):
        Progress("pairs").say(remark)
    if source.crop_px is not None:
        crops = f"crops-{source.pairs.resolve().name}-{source.blur_kind}-{source.crop_px}-{source.crop_step_px}"
        pairs = prepare_crops(
            pairs, source.crops or folder.parent / crops, crop_px=source.crop_px, step_px=source.crop_step_px
        )
    return PairCrops(pairs, patch_px=data.patch_px, length=draw.length, seed=draw.seed, saturation=source.saturation)


def _synthetic(source: SourceConfig, name: str, data: DataConfig, draw: Draw, folder: Path) -> Pairs:
    found = [photo for path in source.photos for photo, _ in find_images(path)]
    photos = [path for path in found if is_chosen(path.name, source.only, source.exclude)]
    synthetic = SyntheticPairs(
        photos,
        Blurs(source.blur, easy=source.easy, easy_fraction=source.easy_fraction),
        patch_px=data.patch_px if source.prepare is None else source.prepared_px,
        length=draw.length,
        seed=draw.seed if source.prepare is None else PREPARED_SEED,
        scale=source.scale,
        cell_px=draw.cell_px,
    )
    if small := synthetic.too_small:
        some = ", ".join(path.name for path in small[:3]) + (", ..." if len(small) > 3 else "")
        Progress("photos").say(
            f"{len(small)} of {len(photos)} photos are too small for data.patch_px={synthetic.patch_px} and are left "
            f"out ({some})"
        )
    if source.prepare is None:
        return synthetic
    prepared = (data.prepared or folder.parent / "prepared") / name
    recipe = source.model_dump(mode="json", include=set(SourceConfig.model_fields) - {"fraction"})
    files = [(path.name, path.stat().st_size) for path in photos]
    made_of = {"cell_px": draw.cell_px, "photos_sha256": hashlib.sha256(repr(files).encode()).hexdigest()}
    prepare(synthetic, source.prepare, prepared, recipe | made_of)
    return PreparedPairs(prepared, patch_px=data.patch_px, length=draw.length, seed=draw.seed, cell_px=draw.cell_px)
