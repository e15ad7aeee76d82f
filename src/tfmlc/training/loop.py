"""The training loop: any module, any data, any objective; stopped and resumed without a trace."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import ProjectConfiguration
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from tfmlc.config import Config
from tfmlc.errors import OutOfRangeError, UserError
from tfmlc.io.files import write_atomically
from tfmlc.runtime.device import Resolved, TrainingPrecision, autocast, resolve_precision
from tfmlc.runtime.progress import Progress
from tfmlc.training.muon import Muon
from tfmlc.training.schedule import Cosine, Schedule
from tfmlc.training.state import STATE, check_same_recipe, flat, read_state, spread_like, whole

BAD_BATCH = "bad-batch.safetensors"
LOG_EVERY_STEPS = 10
LEAST_LOSS_SCALE = 1.0
TERMINATED = 128 + signal.SIGTERM
Objective = Callable[[nn.Module, Any], dict[str, Tensor]]


class Items(Protocol):
    """What is trained on."""

    def __getitem__(self, index: int) -> Any:
        """One item, always the same for the same index."""
        ...


class LoopConfig(Config):
    """Settings of the loop that do not depend on what is trained."""

    steps: int = Field(default=20_000, ge=1, description="number of optimiser steps")
    batch_size: int = Field(default=8, ge=1, description="images per step, over all processes")
    accumulate: int = Field(
        default=1, ge=1, description="parts in which each process computes its batch, to save memory"
    )
    optimiser: Literal["adam", "muon"] = Field(default="adam", description="muon learns faster from random weights")
    learning_rate: float = Field(default=1e-3, gt=0, description="highest learning rate, after the warm-up")
    final_learning_rate: float = Field(default=1e-6, ge=0, description="lowest learning rate, at the end of the cosine")
    warmup_steps: int = Field(default=200, ge=0, description="steps in which the learning rate rises from zero")
    betas: tuple[float, float] = Field(default=(0.9, 0.99), description="decay rates of Adam's two averages")
    gradient_clip: float = Field(
        default=0.5, gt=0, description="largest norm of the gradient; larger gradients are scaled down"
    )
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are the result; 0: no averaging"
    )
    precision: TrainingPrecision = Field(default="auto", description="auto: bf16 where the machine is fast at it")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA if there is one")
    workers: int = Field(default=1, ge=0, description="processes that load data")
    save_every_steps: int = Field(default=250, ge=1, description="steps between two saved states")
    trackers: list[Literal["tensorboard", "wandb"]] = Field(
        default=["tensorboard"], description="tools that log the run"
    )
    seed: int = Field(default=0, description="seed of everything random")


class Hook:
    """Is called by the loop; ``state`` is saved with the run."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def after_step(self, loop: Loop) -> None:
        """Called after every step."""

    def after_save(self, loop: Loop) -> None:
        """Called after every saved state."""


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and for what.

    ``dataset[index]`` depends on ``index`` alone. ``objective(module, batch)`` returns scalars, means over the batch,
    of which ``"loss"`` is minimised.
    """

    module: nn.Module
    objective: Objective
    dataset: Items


class Loop:
    """Trains a module with Adam or Muon, gradient clipping and averaged weights, in one process or in many.

    Step ``s`` sees the items from ``s * batch_size`` on, and the learning rate is a function of the step and the
    schedule's state. The step, the weights, their average, the optimiser's moments, and the states of schedule and
    hooks are therefore all that ``resume`` needs. Under ``accelerate launch`` every process computes its part of each
    batch. ``recipe`` is what must be the same in a resumed run beside ``config``.
    """

    def __init__(
        self,
        task: Task,
        config: LoopConfig,
        folder: Path,
        *,
        schedule: Schedule | None = None,
        hooks: Sequence[Hook] = (),
        recipe: Mapping[str, Any] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.hooks = config, folder, list(hooks)
        self.objective, self.dataset = task.objective, task.dataset
        self.schedule: Schedule = schedule or Cosine(
            steps=config.steps,
            highest=config.learning_rate,
            lowest=config.final_learning_rate,
            warmup_steps=config.warmup_steps,
        )
        self.recipe = json.loads(json.dumps({"loop": config.model_dump(mode="json"), **(recipe or {})}))
        self.accelerator = accelerator or make_accelerator(config, folder)
        self.precision: Resolved = resolve_precision(self.accelerator.device, config.precision)
        self._prepare(task.module)
        self.scaler = torch.GradScaler(self.accelerator.device.type, enabled=self.precision == "fp16")
        self.step = 0
        self.ema = {name: value.detach().clone() for name, value in self.plain.named_parameters()}
        self._terminated = False

    def _prepare(self, module: nn.Module) -> None:
        """Put the module on its device and make its optimiser."""
        config, parts = self.config, self.accelerator.num_processes * self.config.accumulate
        if config.batch_size % parts:
            raise UserError(
                f"loop.batch_size={config.batch_size} is no multiple of processes times accumulate, {parts}"
            )
        sharded = self.accelerator.distributed_type is DistributedType.FSDP  # which takes contiguous weights only
        module.to(self.accelerator.device)
        module.to(memory_format=torch.contiguous_format if sharded else torch.channels_last)
        parameters = list(module.parameters())
        optimiser = (
            Muon(parameters, lr=config.learning_rate)
            if config.optimiser == "muon"
            else torch.optim.Adam(parameters, lr=config.learning_rate, betas=config.betas)
        )
        prepared = cast(Any, self.accelerator.prepare(module, optimiser))  # together: FSDP changes the parameters
        self.module: nn.Module = prepared[0]
        self.plain = cast(nn.Module, self.accelerator.unwrap_model(self.module))
        self.optimiser: torch.optim.Optimizer = prepared[1].optimizer

    def run(self, *, stop_at: int | None = None) -> None:
        """Train to the end, or to step ``stop_at``.

        SIGTERM, which clusters send before they take a machine away, saves the state and leaves with status 143.
        """
        last = min(self.config.steps, stop_at or self.config.steps)
        shown = {key: str(value) for key, value in flat(self.recipe).items()}
        self.accelerator.init_trackers("tfmlc", shown, _tracker_settings(self.folder))
        with Progress("steps", self.config.steps) as progress, self._noticing_sigterm():
            started, first = time.monotonic(), self.step
            batches = self._batches(last)
            while self.step < last and not self.schedule.finished and not self._terminated:
                values = self._train_step([next(batches) for _ in range(self.config.accumulate)])
                pace = (time.monotonic() - started) / max(1, self.step - first)
                report = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
                progress.update(self.step, note=f"{report}  {_duration(pace * (last - self.step))} left")
                if self.step % LOG_EVERY_STEPS == 0 or self.step == last:
                    self.accelerator.log(values, step=self.step)
                for hook in self.hooks:
                    hook.after_step(self)
                due = self.step % self.config.save_every_steps == 0 or self.step == last
                if due or self.schedule.finished or self._terminated:
                    self.save()
                    for hook in self.hooks:
                        hook.after_save(self)
            if self._terminated:
                progress.say(f"terminated at step {self.step} of {self.config.steps}: the same command goes on")
        self.accelerator.end_training()
        if self._terminated:
            raise SystemExit(TERMINATED)

    def _train_step(self, parts: list[Any]) -> dict[str, float]:
        rate = self.schedule.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(parts, 1):
            waiting = number < len(parts)  # gradients are exchanged once a step
            with self.accelerator.no_sync(self.module) if waiting else nullcontext():
                try:
                    with autocast(self.accelerator.device, self.precision):
                        found = self.objective(self.module, batch)
                except OutOfRangeError as error:  # what the network made is no image
                    raise self._unusable(parts, str(error)) from error
                except UserError as error:
                    raise UserError(f"{error} (at step {self.step})") from error
                self.scaler.scale(found["loss"] / len(parts)).backward()
            for name, value in found.items():
                values[name] = values.get(name, torch.zeros(())) + value.detach().float().cpu() / len(parts)
        self.scaler.unscale_(self.optimiser)
        clip = cast("Callable[..., Tensor]", self.accelerator.clip_grad_norm_)
        norm = whole(clip(self.module.parameters(), self.config.gradient_clip))
        report = self._over_processes({**values, "gradient_norm": norm.cpu(), "terminated": self._terminated})
        self._terminated = report.pop("terminated") > 0
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > LEAST_LOSS_SCALE
        finite = all(math.isfinite(report[name]) for name in ("loss", "gradient_norm"))
        if not finite and not (overflow and math.isfinite(report["loss"])):
            raise self._unusable(parts, "loss or gradient is not finite")
        self.scaler.step(self.optimiser)  # in fp16, a step whose gradients overflow is left out
        self.scaler.update()
        self.optimiser.zero_grad()
        self.step += 1
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        now = [value.detach() for value in self.plain.parameters()]  # in the order of the averaged ones
        get_ema_multi_avg_fn(decay)([*self.ema.values()], now, self.step)
        scale = {"loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}
        return {**report, "learning_rate": rate, **scale}

    def _over_processes(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Means over all processes."""
        stacked = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
        if self.accelerator.num_processes > 1:
            stacked = stacked.float().to(self.accelerator.device)  # not every device has float64
            stacked = cast(Tensor, self.accelerator.reduce(stacked, "mean"))
        return dict(zip(values, cast("list[float]", stacked.tolist()), strict=True))

    def _unusable(self, parts: list[Any], reason: str) -> UserError:
        """Keep the batch for inspection; the weights are still those before it."""
        path = self.folder / BAD_BATCH
        if self.accelerator.num_processes > 1:
            path = path.with_stem(f"{path.stem}-{self.accelerator.process_index}")
        tensors = {
            f"part{part}.{place}": value.cpu().contiguous()
            for part, batch in enumerate(parts)
            for place, value in enumerate(batch)
        }
        write_atomically(path, save(tensors, {"step": str(self.step)}))
        return UserError(
            f"{reason}, at step {self.step}: its batch is in {path}, {STATE} is intact; "
            "lower loop.learning_rate, or train in fp32"
        )

    @contextmanager
    def _noticing_sigterm(self) -> Generator[None]:
        def notice(number: int, frame: object) -> None:  # noqa: ARG001
            self._terminated = True

        try:
            before = signal.signal(signal.SIGTERM, notice)
        except ValueError:  # not the main thread: someone else minds signals
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _batches(self, last: int) -> Iterator[Any]:
        """This process's parts of the batches of every step up to ``last``."""
        size = self.config.batch_size
        part = size // self.accelerator.num_processes
        offset = part * self.accelerator.process_index
        loader = DataLoader(
            cast("Dataset[Any]", self.dataset),
            batch_size=part // self.config.accumulate,
            sampler=[step * size + offset + item for step in range(self.step, last) for item in range(part)],
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        for batch in _read(loader):
            yield to_device(batch, self.accelerator.device)

    def averaged_state(self) -> dict[str, Tensor]:
        """State dict of the averaged weights, with every name of a shared parameter."""
        names = {id(parameter): name for name, parameter in self.plain.named_parameters()}
        state = self.plain.state_dict(keep_vars=True)
        return {key: whole(self.ema[names[id(value)]] if id(value) in names else value) for key, value in state.items()}

    def save(self) -> None:
        """Write what a resumed run needs, whole or not at all."""
        tensors = {f"ema.{name}": value for name, value in self.ema.items()}
        for name, parameter in self.plain.named_parameters():
            tensors[f"weights.{name}"] = parameter.detach()
            for moment, value in self.optimiser.state[parameter].items():
                tensors[f"{moment}.{name}"] = value
        tensors |= {f"buffer.{name}": value for name, value in self.plain.named_buffers()}
        tensors = {name: whole(value).cpu().contiguous() for name, value in tensors.items()}  # every process takes part
        if not self.accelerator.is_main_process:
            return
        info = {
            "schedule": {key: value for part in (self.schedule, *self.hooks) for key, value in part.state.items()},
            "step": self.step,
            "recipe": self.recipe,
            "loss_scale": self.scaler.state_dict(),
        }
        write_atomically(self.folder / STATE, save(tensors, {"run": json.dumps(info)}))

    def resume(self, *, force: bool = False) -> Loop:
        """Take up the last saved state of the folder, if there is one; ``force`` allows other settings."""
        path = self.folder / STATE
        if not path.exists():
            return self
        tensors, info = read_state(path)
        if not force:
            check_same_recipe(path, info.recipe, self.recipe)
        wanted = {f"{kind}.{name}": value for name, value in self.ema.items() for kind in ("weights", "ema")}
        wanted |= {f"buffer.{name}": value for name, value in self.plain.named_buffers()}
        for name, value in wanted.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise UserError(f"{path} is the state of another network: it has no fitting {name.partition('.')[2]}")
        self.step = info.step
        for part in (self.schedule, *self.hooks):
            part.state.update({key: info.schedule[key] for key in part.state if key in info.schedule})
        if info.loss_scale:
            self.scaler.load_state_dict(info.loss_scale)
        with torch.no_grad():
            for name, value in self.plain.named_buffers():
                value.copy_(tensors[f"buffer.{name}"])
            for name, parameter in self.plain.named_parameters():
                parameter.copy_(spread_like(parameter, tensors[f"weights.{name}"]))
                self.ema[name].copy_(spread_like(parameter, tensors[f"ema.{name}"]))
                state: dict[str, Tensor] = {}
                for key, value in tensors.items():
                    moment, _, owner = key.partition(".")
                    if owner == name and moment not in ("weights", "ema"):
                        like = parameter if value.shape == parameter.shape else value
                        state[moment] = torch.empty_like(like).copy_(spread_like(like, value))  # keeps memory layout
                self.optimiser.state[parameter] = state
        return self


def to_device(batch: Iterable[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of a batch on the device, images channels last."""
    return [
        part.to(device, memory_format=torch.channels_last if part.dim() == 4 else torch.preserve_format)
        for part in batch
    ]


def make_accelerator(config: LoopConfig, folder: Path) -> Accelerator:
    """The device and the processes of a run, and what logs it."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("loop.device=cuda, but torch finds no GPU here: set loop.device=auto, or mend the driver")
    places = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "log"))
    missing = [name for name in config.trackers if find_spec(name) is None]
    if missing:
        raise UserError(f"loop.trackers names {missing[0]}, which is not installed: pip install {missing[0]}")
    return Accelerator(cpu=config.device == "cpu", log_with=list(config.trackers) or None, project_config=places)


def _tracker_settings(folder: Path) -> dict[str, Any]:
    """A resumed run goes on in the same record."""
    return {"wandb": {"dir": str(folder), "name": folder.name, "id": folder.name, "resume": "allow"}}


def _duration(seconds: float) -> str:
    """Readable length of time.

    >>> _duration(50), _duration(3000), _duration(30000)
    ('50 s', '50 min', '8.3 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _read(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches; an error of the user in a process that makes them arrives as one line, without a traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]) from error
