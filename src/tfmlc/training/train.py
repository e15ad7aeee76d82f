"""Train a deblurring network on pairs: synthetic ones of sharp photos, or a dataset (ICIP 2023, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from pydantic import BaseModel, Field
from torch import Tensor, nn

from tfmlc.backbones import RANDOM
from tfmlc.config import Config, checked, read_record
from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.io.locks import run_lock
from tfmlc.io.weights import find_model
from tfmlc.networks import NETWORKS, Network, build_network, describe_network, load_network
from tfmlc.runtime.progress import Progress
from tfmlc.training.data import DataConfig, Draw, Pairs, build_dataset
from tfmlc.training.hooks import Export, Validation, ValidationConfig
from tfmlc.training.loop import Loop, LoopConfig, Task, make_accelerator, to_device
from tfmlc.training.motion_heads import motion_task
from tfmlc.training.objective import (
    LossConfig,
    Restoration,
    adapter_settings,
    balanced_weight,
    build_feature_loss,
)


class NetworkConfig(Config):
    """Which network, of which sizes, from which weights."""

    name: str = Field(default="hinet", description="name of the network")
    sizes: dict[str, Any] = Field(
        default_factory=dict, description="sizes of the network, such as {width: 32}; see docs/reference/networks.md"
    )
    start: str | None = Field(
        default=None, description="name or weights file of the model to start from; None: random weights"
    )


class TrainConfig(Config):
    """A whole training run."""

    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig()
    validation: ValidationConfig = ValidationConfig()
    blur_heads: float = Field(
        default=0.0, ge=0, description="weight of a second task, to predict the blur's spectrum; needs photos"
    )
    mesh: float = Field(default=0.0, ge=0, description="weight of a penalty on errors that repeat every 4 px")
    licence: str = Field(default="Apache-2.0", description="licence of the weights, stored with them")


class MeasuredWeight(BaseModel):
    """The weight of a feature loss, as a run keeps it."""

    weight: float


def train_network(config: TrainConfig, folder: Path, *, stop_at: int | None = None, force: bool = False) -> Path:
    """Train a network and return its weights file; a folder that holds an unfinished run is resumed.

    Writes ``config.yaml``, logs, and every ``loop.save_every_steps`` the state for resuming and
    ``weights.safetensors`` (the averaged weights); with ``validation.pairs`` also ``best.safetensors`` and sample
    images. ``force`` resumes with other settings.

    Raises:
        UserError: for settings that do not fit together, and while another run works in the folder.

    """
    _check_writable(folder)
    with run_lock(folder):
        return _train(config, folder, stop_at=stop_at, force=force)


def _train(config: TrainConfig, folder: Path, *, stop_at: int | None, force: bool) -> Path:
    network = start_network(config.network)
    config, _ = resolved(config)
    accelerator = make_accelerator(config.loop, folder)
    module, cell_px = with_motion_task(network, config)
    draw = Draw(config.loop.steps * config.loop.batch_size, config.loop.seed, cell_px)
    dataset = build_dataset(config.data, draw, folder)
    network.to(accelerator.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    objective = _objective(config, network, dataset, accelerator, folder)
    averaged = build_network(config.network.name, **describe_network(network.state_dict())[1])
    weights = folder / "weights.safetensors"
    export = Export(weights, averaged, config.licence)
    loop = Loop(
        Task(module, objective, dataset),
        config.loop,
        folder,
        hooks=[Validation(config.validation, averaged, config.licence), export],
        recipe=config.model_dump(mode="json", exclude={"loop", "licence"}),
        accelerator=accelerator,
    ).resume(force=force)
    if accelerator.is_main_process:
        write_atomically(folder / "config.yaml", f"{_ran(loop, objective)}\n{config.to_yaml()}".encode())
    if loop.step:  # what was trained before, in case nothing is left to do
        export.after_save(loop)
    loop.run(stop_at=stop_at)
    return weights


def _ran(loop: Loop, objective: Restoration) -> str:
    """A comment for ``config.yaml``: where the run took place, and what was measured for it."""
    ran = f"# ran on {loop.accelerator.device.type} in {loop.precision}"
    if objective.feature_loss is not None:
        ran += f"; weight of the feature loss {objective.weight:.6g}"
    return ran


def with_motion_task(network: Network, config: TrainConfig) -> tuple[nn.Module, int | None]:
    """The network with the second task, and the side of a cell in px; or the network alone and None."""
    if not config.blur_heads:
        return network, None
    if not any(source.photos for source in (config.data, *config.data.sources.values())):
        raise UserError("blur_heads need data.photos, ready pairs do not tell their blur: set blur_heads=0")
    if config.data.patch_px % network.size_multiple:
        raise UserError(f"with blur_heads, data.patch_px must be a multiple of {network.size_multiple}")
    module = motion_task(network)
    return module, module.cell_px


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
    if NETWORKS[network.info.name].family != NETWORKS[config.name].family:
        raise UserError(f"{config.start} holds {network.info.name} weights, but the recipe trains {config.name}")
    return network


def _objective(
    config: TrainConfig, network: Network, dataset: Pairs, accelerator: Accelerator, folder: Path
) -> Restoration:
    """What the run minimises."""
    family, loss = NETWORKS[config.network.name].family, config.loss
    feature_loss = build_feature_loss(loss, accelerator.device)
    weight = None if isinstance(loss.weight, str) else loss.weight
    if feature_loss is not None and loss.weight == "auto":
        batches = _batches(dataset, config.loop.batch_size, loss.auto_steps, accelerator.device)
        weight = _measured_weight(Restoration(family, feature_loss), network, batches, loss, folder)
    return Restoration(family, feature_loss, weight, mesh=config.mesh, motion=config.blur_heads)


def _measured_weight(
    objective: Restoration, network: Network, batches: Iterable[list[Tensor]], loss: LossConfig, folder: Path
) -> float:
    """The feature loss's weight, measured from gradients; kept in the run's folder for a resumed run."""
    path = folder / "weight.json"
    if path.exists():
        return read_record(
            path, MeasuredWeight, "the weight of a feature loss", "remove it, and it is measured again"
        ).weight
    weight, rows = balanced_weight(objective, network, batches, loss.gradient_ratio)
    measured = {"weight": weight, "gradient_ratio": loss.gradient_ratio, "batches": rows}
    write_atomically(path, (json.dumps(measured, indent=1) + "\n").encode())
    Progress("weight").say(f"weight of the feature loss: {weight:.4g}, from {len(rows)} batches ({path})")
    return weight


def _batches(dataset: Pairs, size: int, count: int, device: torch.device) -> Iterator[list[Tensor]]:
    """Blurry and sharp images of the first batches."""
    for step in range(count):
        items = [dataset[step * size + item][:2] for item in range(size)]
        yield to_device((torch.stack(part) for part in zip(*items, strict=True)), device)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the run folder {folder}: {error.strerror}; choose one with -o") from error
    write_atomically(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)  # another process of the run may have been here
