"""Training a deblurring network on pairs: from photos shaken on the fly, or from a folder of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
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
from tfmlc.losses import hinet_objective, psnr_loss
from tfmlc.networks import Network, build_network, describe_network, load_network, save_network
from tfmlc.training.blur_heads import BlurHeads
from tfmlc.training.engine import Loop, LoopConfig, Objective
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
    easy: BlurConfig | None = Field(default=None, description="a simpler blur, for a part of the pairs")
    easy_share: float = Field(default=0.0, ge=0, le=1, description="of the pairs, blurred as easy says")


class TrainConfig(Config):
    """A whole training run."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()
    blur_heads: float = Field(
        default=0.0, ge=0, description="weight of a second task, to tell the blur's spectrum; only for hinet and photos"
    )
    licence: str = Field(default="Apache-2.0", description="of the weights; stored with them")


def psnr_objective(network: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
    """HINet's objective, half the negative PSNR summed over the stages; and the gain over the blurry input in dB."""
    blurry, sharp = batch[:2]
    return _restoration(network(blurry), blurry, sharp)


def two_task_objective(heads: nn.Module, batch: list[Tensor], *, weight: float) -> dict[str, Tensor]:
    """The same, and ``weight`` times ``5 log10`` of the mean squared error of the blur's spectrum."""
    blurry, sharp, spectrum = batch
    stages, spectra = heads(blurry)
    values = _restoration(stages, blurry, sharp)
    error = torch.stack([(found - spectrum).square().mean() for found in spectra]).mean()
    return {**values, "loss": values["loss"] + weight * 5 * torch.log10(error), "spectrum_error": error}


def _restoration(stages: Sequence[Tensor], blurry: Tensor, sharp: Tensor) -> dict[str, Tensor]:
    gain = psnr_loss(blurry, sharp) - psnr_loss(stages[-1].detach(), sharp)
    return {"loss": hinet_objective(stages, sharp), "gain_db": gain}


def finetune(config: TrainConfig, folder: Path, *, stop_at: int | None = None) -> Path:
    """Train a network and return its weights file; a folder that holds an unfinished run is resumed.

    Writes ``config.yaml``, TensorBoard logs, and every ``loop.save_every_steps`` the state for resuming and
    ``weights.safetensors`` (the averaged weights). Raises UserError for settings that do not fit together.
    """
    network = start_network(config.network)
    module: nn.Module = network
    objective: Objective = psnr_objective
    if config.blur_heads:
        if not config.data.photos:
            raise UserError("blur_heads need data.photos, ready pairs do not tell their blur: set blur_heads=0")
        if config.data.patch_px % network.step_px:
            raise UserError(f"with blur_heads, data.patch_px must be a multiple of {network.step_px}")
        module, objective = BlurHeads(network), partial(two_task_objective, weight=config.blur_heads)
    dataset = build_dataset(config, cell_px=network.step_px if config.blur_heads else None)
    weights = folder / "weights.safetensors"
    averaged = build_network(config.network.name, **describe_network(network.state_dict())[1])

    def export(loop: Loop) -> None:
        state = loop.averaged_state()
        averaged.load_state_dict(
            {
                name.removeprefix("network."): value
                for name, value in state.items()
                if not (config.blur_heads and name.startswith("heads."))
            }
        )
        origin = f"trained by tfmlc, {loop.step} of {config.loop.steps} steps"
        save_network(weights, averaged, origin=origin, licence=config.licence)

    recipe = config.model_dump(mode="json", exclude={"loop", "licence"})
    loop = Loop(module, objective, dataset, config.loop, folder, recipe=recipe)
    loop.resume()  # refuses a folder of another run before anything is written
    write_atomically(folder / "config.yaml", config.to_yaml().encode())
    loop.run(stop_at=stop_at, on_save=export)
    export(loop)
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


def build_dataset(config: TrainConfig, *, cell_px: int | None = None) -> PairFolder | ShakenPhotos:
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
        easy=data.easy,
        easy_share=data.easy_share,
        cell_px=cell_px,
    )
