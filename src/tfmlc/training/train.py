"""Training of a deblurring network on a dataset, or on synthetic pairs of sharp photos (ICIP 2023, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import BaseModel, Field
from torch import Tensor, nn

from tfmlc.backbones import RANDOM
from tfmlc.config import Config, checked, read_record
from tfmlc.errors import UserError
from tfmlc.io.files import check_writable, write_atomically
from tfmlc.io.locks import run_lock
from tfmlc.io.weights import find_model
from tfmlc.networks import NETWORKS, Network, build_network, checked_sizes, describe_network, family_of, load_network
from tfmlc.runtime.progress import Progress
from tfmlc.training.data import DataConfig, Draw, Pairs, build_dataset
from tfmlc.training.hooks import Export, Validation, ValidationConfig
from tfmlc.training.loop import Loop
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.machine import from_first_process, make_accelerator, to_device
from tfmlc.training.motion_heads import motion_task
from tfmlc.training.objective import (
    LossConfig,
    Restoration,
    adapter_settings,
    balanced_weight,
    build_feature_loss,
)
from tfmlc.training.task import Task
from tfmlc.typed import channels_last

ADDED = {"head", "scales"}  # sizes of a network that new parts can give to trained weights


class NetworkConfig(Config):
    """The network: its name, its sizes and the weights it starts from."""

    name: str = Field(default="hinet", description="name of the network")
    sizes: dict[str, Any] = Field(
        default_factory=dict, description="sizes of the network, such as {width: 32}; see docs/reference/networks.md"
    )
    start: str | None = Field(
        default=None, description="name or weights file of the model to start from; None: random weights"
    )


class TrainConfig(Config):
    """The settings of a training run."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig()
    validation: ValidationConfig = ValidationConfig()
    blur_heads: float = Field(
        default=0.0,
        ge=0,
        description="weight of a second task, which is to predict the spectrum of the blur; 0: none; needs data.photos",
    )
    mesh: float = Field(default=0.0, ge=0, description="weight of a penalty on errors that repeat every 4 px; 0: none")
    licence: str | None = Field(
        default=None,
        description="licence of the weights, stored with them; None: that of network.start, else Apache-2.0",
    )


class MeasuredWeight(BaseModel):
    """The measured weight of a feature loss, as a run stores it; earlier versions did not store all settings."""

    weight: float
    gradient_ratio: float | None = None
    settings: dict[str, Any] | None = None


def train_network(config: TrainConfig, folder: Path, *, stop_at: int | None = None, force: bool = False) -> Path:
    """Train a network. If the folder contains an unfinished run, it is resumed.

    The folder gets ``config.yaml``, logs and, every ``loop.save_every_steps``, the state of the run and
    ``weights.safetensors`` (the averaged weights). With ``validation.pairs`` it also gets ``best.safetensors`` and
    sample images.

    Args:
        config: The settings.
        folder: The folder of the run.
        stop_at: The step at which to stop. None trains to the last step of the settings.
        force: Whether to resume a run that was made with other settings.

    Returns:
        The file of the averaged weights.

    Raises:
        UserError: If settings do not fit together, data or weights are missing, or another run is working in the
            folder.
    """
    check_writable(folder)
    with run_lock(folder):
        return _train(config, folder, stop_at=stop_at, force=force)


def _train(config: TrainConfig, folder: Path, *, stop_at: int | None, force: bool) -> Path:
    network = start_network(config.network, config.loop.seed)
    config, _ = resolved(config)
    accelerator = make_accelerator(config.loop, folder)
    module, cell_px = with_motion_task(network, config)
    draw = Draw(config.loop.steps * config.loop.batch_size, config.loop.seed, cell_px)
    dataset = build_dataset(config.data, draw, folder)
    channels_last(network.to(accelerator.device))
    objective = _objective(config, network, dataset, accelerator, folder)
    averaged = deepcopy(network)
    weights, licence = folder / "weights.safetensors", _licence(config, network)
    export = Export(weights, averaged, licence)
    loop = Loop(
        Task(module, objective, dataset),
        config.loop,
        folder,
        hooks=[Validation(config.validation, averaged, licence, config.data.blur_kind), export],
        recipe=config.model_dump(mode="json", exclude={"loop", "licence"}),
        accelerator=accelerator,
    ).resume(force=force)
    if accelerator.is_main_process:
        write_atomically(folder / "config.yaml", f"{_ran(loop, objective)}\n{config.to_yaml()}".encode())
    if loop.step:  # a finished run takes no step that would export the weights
        export.after_save(loop)
    loop.run(stop_at=stop_at)
    return weights


def _licence(config: TrainConfig, network: Network) -> str:
    """Return the licence that the weights get: what they start from decides, unless the settings do."""
    if config.licence is not None:
        return config.licence
    return "Apache-2.0" if config.network.start is None else network.info.licence


def _ran(loop: Loop, objective: Restoration) -> str:
    """Return a comment for ``config.yaml``: the device, the precision, and the weight of the feature loss."""
    ran = f"# ran on {loop.accelerator.device.type} in {loop.precision}"
    if objective.feature_loss is not None:
        ran += f"; weight of the feature loss {objective.weight:.6g}"
    return ran


def with_motion_task(network: Network, config: TrainConfig) -> tuple[nn.Module, int | None]:
    """Add the second task to a network if the settings ask for it.

    Args:
        network: The network.
        config: The settings.

    Returns:
        The module to train, and the side of a cell of the blur's spectrum in px. Without the second task these are the
        network itself and None.

    Raises:
        UserError: If the network or the data do not allow the second task.
    """
    if not config.blur_heads:
        return network, None
    if not any(source.photos for source in (config.data, *config.data.sources.values())):
        raise UserError("blur_heads needs data.photos, because the blur of ready pairs is not known: set blur_heads=0")
    if config.data.patch_px % network.size_multiple:
        raise UserError(
            f"with blur_heads, data.patch_px={config.data.patch_px} must be a multiple of {network.size_multiple}"
        )
    torch.manual_seed(config.loop.seed)
    module = motion_task(network)
    return module, module.cell_px


def resolved(config: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """Fill in the settings that files and defaults determine.

    The name and the sizes of the network are read from ``network.start``; without it, missing sizes are the network's
    defaults. The backbone, the block and the mode are read from ``loss.adapter``.

    Args:
        config: The settings.

    Returns:
        The complete settings, and a remark for each file that cannot be read because it does not exist.
    """
    values = config.model_dump(mode="json")
    remarks: list[str] = []
    if config.network.start is None:
        with torch.device("meta"):  # only shapes are needed
            name, sizes = describe_network(build_network(config.network.name, **config.network.sizes).state_dict())
        values["network"] |= {"name": name, "sizes": sizes}
    else:
        path = find_model(config.network.start)
        if path.is_file():
            info = load_network(path).info
            new = {key: value for key, value in config.network.sizes.items() if key in ADDED}
            values["network"] |= {"name": info.name, "sizes": info.hyperparameters | new}
        else:
            remarks.append(f"network.sizes come from {path}, which does not exist")
    if config.loss.kind == "tfmlc" and config.loss.adapter not in (None, RANDOM):
        path = Path(str(config.loss.adapter))
        if path.is_file():
            values["loss"] |= adapter_settings(path)
        else:
            remarks.append(f"loss.backbone, block and adapter_mode come from {path}, which does not exist")
    return checked(TrainConfig, json.loads(json.dumps(values))), remarks


def start_network(config: NetworkConfig, seed: int = 0) -> Network:
    """Build the network with the weights of ``config.start``, or with random weights.

    Args:
        config: The settings of the network.
        seed: The seed of random weights.

    Returns:
        The network, in training mode. Its ``info`` names the file and the licence that it starts from.

    Raises:
        UserError: If the weights file does not exist or is of another network, or a size is unknown.

    Example:
        >>> network = start_network(NetworkConfig(sizes={"width": 8, "depth": 3, "normalised_levels": [1, 2]}))
        >>> type(network).__name__, network.training
        ('HINet', True)
    """
    if config.start is None:
        torch.manual_seed(seed)
        return build_network(config.name, **config.sizes)
    if config.name in NETWORKS:
        checked_sizes(config.name, config.sizes)
    path = find_model(config.start)
    if not path.is_file():
        raise UserError(
            f"network.start names the weights file {path}, which does not exist: train it first, download the "
            f"official GoPro weights of {config.name} from its authors, or name another file"
        )
    network = load_network(path).train()
    if not _same_family(network.info.name, config.name):
        raise UserError(
            f"network.start={config.start} contains {network.info.name} weights, but the recipe trains {config.name}: "
            f"set network.name={network.info.name}, or name another file"
        )
    info = network.info
    added = {key: value for key, value in config.sizes.items() if key in ADDED - info.hyperparameters.keys()}
    started = _extended(network, added, seed) if added else network
    origin = f"{Path(config.start).name} ({info.origin or 'origin not recorded'})"
    started.info = replace(info, origin=origin)
    return started


def _same_family(name: str, other: str) -> bool:
    known = {name, other} <= NETWORKS.keys()
    return family_of(name) == family_of(other) if known else name == other  # one of spandrel's is trained as itself


def _extended(network: Network, added: Mapping[str, Any], seed: int) -> Network:
    """Return the network with new parts, which change no result before they are trained."""
    torch.manual_seed(seed)
    extended = build_network(network.info.name, **network.info.hyperparameters, **added).train()
    extended.load_state_dict(network.state_dict(), strict=False)
    return extended


def _objective(
    config: TrainConfig, network: Network, dataset: Pairs, accelerator: Accelerator, folder: Path
) -> Restoration:
    """Return the objective of the run."""
    family, loss = family_of(config.network.name), config.loss
    feature_loss = build_feature_loss(loss, accelerator.device)
    weight = None if isinstance(loss.weight, str) else loss.weight
    if feature_loss is not None and loss.weight == "auto":
        batches = _batches(dataset, config.loop.batch_size, loss.auto_steps, accelerator.device)
        measured = partial(_measured_weight, Restoration(family, feature_loss), network, batches, config, folder)
        weight = from_first_process(accelerator, measured)
    return Restoration(family, feature_loss, weight, mesh=config.mesh, motion=config.blur_heads)


def _measured_weight(
    objective: Restoration, network: Network, batches: Iterable[list[Tensor]], config: TrainConfig, folder: Path
) -> float:
    """Measure the weight of the feature loss from gradients. A run with the same settings reads it from its folder."""
    path, ratio = folder / "weight.json", config.loss.gradient_ratio
    of_it = {"network": True, "data": True, "loss": True, "loop": {"batch_size", "seed"}}
    settings = config.model_dump(mode="json", include=of_it)
    if path.exists():
        way_out = "remove it, and the weight is measured again"
        found = read_record(path, MeasuredWeight, "the weight of a feature loss", way_out)
        if found.gradient_ratio in (None, ratio) and found.settings in (None, settings):
            return found.weight
    torch.manual_seed(config.loop.seed)  # for losses with random offsets; the loop seeds again
    weight, rows = balanced_weight(objective, network, batches, ratio)
    measured = {"weight": weight, "gradient_ratio": ratio, "settings": settings, "batches": rows}
    write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    Progress("weight").say(f"weight of the feature loss: {weight:.4g}, from {len(rows)} batches ({path})")
    return weight


def _batches(dataset: Pairs, size: int, count: int, device: torch.device) -> Iterator[list[Tensor]]:
    """Yield the blurry and sharp images of the first batches."""
    for step in range(count):
        items = [dataset[step * size + item][:2] for item in range(size)]
        yield to_device((torch.stack(part) for part in zip(*items, strict=True)), device)
