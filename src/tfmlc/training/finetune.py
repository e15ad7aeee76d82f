"""Training a deblurring network on pairs: from photos shaken on the fly, or from a folder of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tfmlc.config import Config
from tfmlc.data.blur import BlurConfig
from tfmlc.data.folders import PairFolder
from tfmlc.data.stills import ShakenPhotos
from tfmlc.errors import UserError
from tfmlc.files import write_atomically
from tfmlc.images import find_pictures
from tfmlc.losses import psnr_loss
from tfmlc.networks import Network, build_network, describe_network, load_network, save_network
from tfmlc.training.engine import Loop, LoopConfig
from tfmlc.weights import find_model


class NetworkConfig(Config):
    """Which network, of which sizes, from which weights."""

    name: str = "hinet"
    sizes: dict[str, Any] = Field(default_factory=dict, description="hyperparameters; see docs/networks.md")
    start: str | None = Field(default=None, description="a model's name or weights file to start from; None: random")


class DataConfig(Config):
    """What the network learns from: sharp photos shaken on the fly, or ready pairs; one of the two."""

    photos: list[Path] = Field(default_factory=list[Path], description="sharp photos and folders of them")
    pairs: Path | None = Field(default=None, description="folder with blur/ and sharp/")
    patch_px: int = Field(default=192, ge=16)
    blur: BlurConfig = BlurConfig()
    start: float = Field(default=1.0, ge=0, le=1, description="how hard the blur is at first; see BlurConfig.eased")
    enough_db: float = Field(default=1.0, description="gain over the input at which the blur becomes harder")


class TrainConfig(Config):
    """A whole training run."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()
    licence: str = Field(default="Apache-2.0", description="of the weights; stored with them")


def psnr_objective(network: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
    """HINet's objective, half the negative PSNR summed over the stages; and the gain over the blurry input in dB."""
    blurry, sharp = batch
    stages: tuple[Tensor, ...] = network(blurry)
    losses = [psnr_loss(stage, sharp) for stage in stages]
    loss = 0.5 * torch.stack(losses).sum()
    return {"loss": loss, "gain_db": psnr_loss(blurry, sharp) - losses[-1].detach()}


def finetune(config: TrainConfig, folder: Path, *, stop_at: int | None = None) -> Path:
    """Train a network and return its weights file; a folder that holds an unfinished run is resumed.

    Writes ``config.yaml``, TensorBoard logs, and every ``loop.save_every_steps`` the state for resuming and
    ``weights.safetensors`` (the averaged weights). Raises UserError for settings that do not fit together.
    """
    dataset = build_dataset(config)
    network = start_network(config.network)
    write_atomically(folder / "config.yaml", config.to_yaml().encode())
    weights = folder / "weights.safetensors"
    averaged = build_network(config.network.name, **describe_network(network.state_dict())[1])

    def export(loop: Loop) -> None:
        averaged.load_state_dict(loop.averaged_state())
        origin = f"trained by tfmlc, {loop.step} of {config.loop.steps} steps"
        save_network(weights, averaged, origin=origin, licence=config.licence)

    loop = Loop(network, psnr_objective, dataset, config.loop, folder)
    loop.run(stop_at=stop_at, on_save=export)
    return weights


def start_network(config: NetworkConfig) -> Network:
    """The network with random weights, or with those it starts from."""
    if config.start is None:
        torch.manual_seed(0)
        return build_network(config.name, **config.sizes)
    network = load_network(find_model(config.start)).train()
    if network.about.name != config.name:
        raise UserError(f"{config.start} holds {network.about.name} weights, but the recipe trains {config.name}")
    return network


def build_dataset(config: TrainConfig) -> PairFolder | ShakenPhotos:
    """The pairs of a run, one for every item of every batch."""
    data, length = config.data, config.loop.steps * config.loop.batch_size
    if bool(data.photos) == (data.pairs is not None):
        raise UserError("a recipe needs data.photos=[FOLDER] (sharp photos) or data.pairs=FOLDER (blur/ and sharp/)")
    if data.pairs is not None:
        return PairFolder(data.pairs, patch_px=data.patch_px, length=length, seed=config.loop.seed)
    photos = [photo for path in data.photos for photo, _ in find_pictures(path)]
    return ShakenPhotos(
        photos,
        data.blur,
        patch_px=data.patch_px,
        length=length,
        seed=config.loop.seed,
        start=data.start,
        enough_db=data.enough_db,
    )
