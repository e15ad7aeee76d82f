"""Train a deblurring network on pairs: synthetic ones of sharp photos, or a dataset (ICIP 2023, section 3.2)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, model_validator
from torch import Tensor, nn

from tfmlc.backbones import RANDOM
from tfmlc.config import Config, checked, read_record
from tfmlc.data.datasets.crops import PairCrops, prepare_crops
from tfmlc.data.datasets.pairs import BlurKind, check_pairs, count_remark, find_pairs
from tfmlc.data.datasets.synthetic import SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.io.images import find_images
from tfmlc.io.locks import run_lock
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, build_network, describe_network, load_network, save_network
from tfmlc.runtime.progress import Progress
from tfmlc.training.loop import Items, Loop, LoopConfig, Objective, to_device
from tfmlc.training.motion_heads import BlurHeads
from tfmlc.training.objective import (
    LossConfig,
    Restoration,
    adapter_settings,
    balanced_weight,
    build_feature_loss,
    paper_weight,
)
from tfmlc.training.validation import Validated, ValidationConfig


class NetworkConfig(Config):
    """Which network, of which sizes, from which weights."""

    name: str = "hinet"
    sizes: dict[str, Any] = Field(default_factory=dict, description="hyperparameters; see docs/reference/networks.md")
    start: str | None = Field(default=None, description="a model's name or weights file to start from; None: random")


class DataConfig(Config):
    """What the network learns from: sharp photos synthetic on the fly, or ready pairs; one of the two."""

    photos: list[Path] = Field(default_factory=list[Path], description="sharp photos and folders of them")
    pairs: Path | None = Field(default=None, description="folder with blur/ and sharp/, GOPRO_Large, RealBlur or HIDE")
    blur_kind: BlurKind = Field(default="blur", description="which of GoPro's two averages")
    patch_px: int = Field(default=192, ge=16)
    crop_px: int | None = Field(
        default=None, ge=16, description="pairs: cut into crops of this side once; None: do not"
    )
    crop_step_px: int = Field(default=256, ge=1, description="pairs: from one crop to the next")
    crops: Path | None = Field(default=None, description="folder for the crops; None: beside the run's")
    saturation: float = Field(default=0.0, ge=0, le=1, description="pairs: largest random change of colour saturation")
    blur: BlurConfig = BlurConfig()
    easy: BlurConfig | None = Field(default=None, description="photos: a simpler blur, for a part of the pairs")
    easy_fraction: float = Field(default=0.0, ge=0, le=1, description="of the pairs, blurred as easy says")

    @model_validator(mode="after")
    def _check_sizes(self) -> DataConfig:
        if self.crop_px is not None and self.crop_px < self.patch_px:
            raise ValueError(f"crop_px={self.crop_px} is smaller than patch_px={self.patch_px}")
        return self


class TrainConfig(Config):
    """A whole training run."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig()
    validation: ValidationConfig = ValidationConfig()
    blur_heads: float = Field(
        default=0.0, ge=0, description="weight of a second task, to tell the blur's spectrum; only for hinet and photos"
    )
    licence: str = Field(default="Apache-2.0", description="of the weights; stored with them")


def finetune(config: TrainConfig, folder: Path, *, stop_at: int | None = None, force: bool = False) -> Path:
    """Train a network and return its weights file; a folder that holds an unfinished run is resumed.

    Writes ``config.yaml``, logs, and every ``loop.save_every_steps`` the state for resuming and
    ``weights.safetensors`` (the averaged weights); with ``validation.pairs`` also ``best.safetensors`` and sample
    images. ``force`` resumes with other settings. Raises UserError for settings that do not fit together, and
    while another run is at work in the folder.
    """
    _check_writable(folder)
    with run_lock(folder):
        return _finetune(config, folder, stop_at=stop_at, force=force)


def _finetune(config: TrainConfig, folder: Path, *, stop_at: int | None, force: bool) -> Path:
    network = start_network(config.network)
    config, _ = resolved(config)
    module: nn.Module = network
    if config.blur_heads:
        if not config.data.photos:
            raise UserError("blur_heads need data.photos, ready pairs do not tell their blur: set blur_heads=0")
        if config.data.patch_px % network.size_multiple:
            raise UserError(f"with blur_heads, data.patch_px must be a multiple of {network.size_multiple}")
        module = BlurHeads(network)
    dataset = build_dataset(config, folder, cell_px=network.size_multiple if config.blur_heads else None)
    averaged = build_network(config.network.name, **describe_network(network.state_dict())[1])
    restoration = Restoration(config.network.name)
    schedule = Validated(config.loop, config.validation, folder, lambda loop: _average(loop, averaged), config.licence)
    objective: Objective = restoration
    if config.blur_heads:
        objective = partial(two_tasks, restoration=restoration, weight=config.blur_heads)
    recipe = config.model_dump(mode="json", exclude={"loop", "licence"})
    loop = Loop(module, objective, dataset, config.loop, folder, schedule, recipe, force=force)
    restoration.feature_loss = build_feature_loss(config.loss, loop.accelerator.device)
    if restoration.feature_loss is not None:
        restoration.weight = _weight(config, restoration, network, dataset, loop)
    weights = folder / "weights.safetensors"
    if loop.accelerator.is_main_process:
        ran = f"# ran on {loop.accelerator.device.type} in {loop.precision}"
        if restoration.feature_loss is not None:
            ran += f"; weight of the feature loss {restoration.weight:.6g}"
        write_atomically(folder / "config.yaml", f"{ran}\n{config.to_yaml()}".encode())

    def export(loop: Loop) -> None:
        _average(loop, averaged)
        if loop.accelerator.is_main_process:
            origin = f"trained by tfmlc, {loop.step} of {config.loop.steps} steps"
            save_network(weights, averaged, origin=origin, licence=config.licence)

    if loop.step:  # what was trained before, should this run have nothing left to do
        export(loop)
    loop.run(stop_at=stop_at, on_save=export)
    return weights


def resolved(config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """The settings as they run, and a remark for each file that is not here to tell them.

    Name and sizes of the network are read from ``network.start``, or are the network's defaults where none are given;
    backbone, block and mode are read from ``loss.adapter``.
    """
    values = config.model_dump(mode="json")
    remarks: list[str] = []
    if config.network.start is None:
        with torch.device("meta"):  # for its form alone
            name, sizes = describe_network(build_network(config.network.name, **config.network.sizes).state_dict())
        values["network"] |= {"name": name, "sizes": sizes}
    else:
        path = find_model(config.network.start)
        if path.is_file():
            info = load_network(path).info
            values["network"] |= {"name": info.name, "sizes": info.hyperparameters}
        else:
            remarks.append(f"network.sizes are those of {path}, which is not here")
    if config.loss.kind == "tfmlc" and config.loss.adapter not in (None, RANDOM):
        path = Path(str(config.loss.adapter))
        if path.is_file():
            values["loss"] |= adapter_settings(path)
        else:
            remarks.append(f"loss.backbone, block and adapter_mode are those of {path}, which is not here")
    return checked(TrainConfig, json.loads(json.dumps(values))), remarks


def two_tasks(heads: nn.Module, batch: list[Tensor], *, restoration: Restoration, weight: float) -> dict[str, Tensor]:
    """Restoration, and ``weight`` times ``5 log10`` of the mean squared error of the blur's spectrum."""
    blurry, sharp, spectrum = batch
    stages, spectra = heads(blurry)
    values = restoration.of_stages(stages, blurry, sharp)
    error = torch.stack([(found - spectrum).square().mean() for found in spectra]).mean()
    return {**values, "loss": values["loss"] + weight * 5 * torch.log10(error), "spectrum_error": error}


def start_network(config: NetworkConfig) -> Network:
    """The network with random weights, or with those it starts from."""
    if config.start is None:
        torch.manual_seed(0)
        return build_network(config.name, **config.sizes)
    path = find_model(config.start)
    if not path.is_file():
        raise UserError(
            f"there is no weights file {path} to start from (network.start): get {config.name}'s official GoPro "
            "weights from its authors, or name a file of your own"
        )
    network = load_network(path).train()
    if network.info.name.split("-")[0] != config.name.split("-")[0]:  # mprnet-lite is mprnet of other sizes
        raise UserError(f"{config.start} holds {network.info.name} weights, but the recipe trains {config.name}")
    return network


def build_dataset(config: TrainConfig, folder: Path, *, cell_px: int | None = None) -> PairCrops | SyntheticPairs:
    """The pairs of a run, one for every item of every batch; a dataset is checked, and cut into crops if asked."""
    data, length = config.data, config.loop.steps * config.loop.batch_size
    if bool(data.photos) == (data.pairs is not None):
        raise UserError("a recipe needs data.photos=[FOLDER] (sharp photos) or data.pairs=FOLDER (blur/ and sharp/)")
    if data.pairs is None:
        photos = [photo for path in data.photos for photo, _ in find_images(path)]
        synthetic = SyntheticPairs(
            photos,
            data.blur,
            patch_px=data.patch_px,
            length=length,
            seed=config.loop.seed,
            easy=data.easy,
            easy_fraction=data.easy_fraction,
            cell_px=cell_px,
        )
        if small := synthetic.too_small:
            with Progress("photos") as progress:
                some = ", ".join(path.name for path in small[:3]) + (", ..." if len(small) > 3 else "")
                progress.say(
                    f"{len(small)} of {len(photos)} photos are too small for data.patch_px={data.patch_px} and are "
                    f"left out ({some})"
                )
        return synthetic
    pairs = find_pairs(data.pairs, split="train", blur=data.blur_kind)
    check_pairs(pairs)
    with Progress("pairs") as progress:
        if remark := count_remark(data.pairs, "train", pairs):
            progress.say(remark)
    if data.crop_px is not None:
        name = f"crops-{data.pairs.resolve().name}-{data.blur_kind}-{data.crop_px}-{data.crop_step_px}"
        crops = data.crops or folder.parent / name
        pairs = prepare_crops(pairs, crops, crop_px=data.crop_px, step_px=data.crop_step_px)
    return PairCrops(pairs, patch_px=data.patch_px, length=length, seed=config.loop.seed, saturation=data.saturation)


class FoundWeight(BaseModel):
    """The weight of a feature loss, as a run keeps it."""

    weight: float


def _weight(config: TrainConfig, objective: Restoration, network: nn.Module, dataset: Items, loop: Loop) -> float:
    """The feature loss's weight; one that was found from gradients is kept beside the run."""
    loss = config.loss
    if loss.weight == "paper":
        return paper_weight(config.network.name)
    if loss.weight != "auto":
        return float(loss.weight)
    path = loop.folder / "weight.json"
    if path.exists():
        return read_record(path, FoundWeight, "weight of a feature loss", "remove it, and it is found again").weight
    size = config.loop.batch_size

    def batch(step: int) -> list[Tensor]:
        items = [dataset[step * size + item] for item in range(size)]
        return to_device((torch.stack(part) for part in zip(*items, strict=True)), loop.accelerator.device)

    batches = (batch(step)[:2] for step in range(loss.auto_steps))
    weight, rows = balanced_weight(objective, network, batches, loss.gradient_ratio)
    if loop.accelerator.is_main_process:
        found = {"weight": weight, "gradient_ratio": loss.gradient_ratio, "batches": rows}
        write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())
        with Progress("weight") as progress:
            progress.say(f"weight of the feature loss: {weight:.4g}, from {len(rows)} batches ({path})")
    return weight


def _average(loop: Loop, network: Network) -> Network:
    """Put the averaged weights into ``network``, a copy of the one that is trained."""
    state = {name.removeprefix("network."): value for name, value in loop.averaged_state().items()}
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("heads.")})
    return network


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the run folder {folder}: {error.strerror}; choose one with -o") from error
    write_atomically(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)  # another process of the run may have been here
