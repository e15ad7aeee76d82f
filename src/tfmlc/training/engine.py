"""The training loop: any module, any data, any objective; stopped and resumed without a trace."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from accelerate import Accelerator
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tfmlc.checkpoint import read_safetensors
from tfmlc.config import Config
from tfmlc.errors import UserError
from tfmlc.files import write_atomically
from tfmlc.precision import Precision, autocast
from tfmlc.progress import Steps
from tfmlc.training.muon import Muon

STATE = "state.safetensors"
LOG_EVERY_STEPS = 10
Objective = Callable[[nn.Module, Any], dict[str, Tensor]]


class LoopConfig(Config):
    """Settings of the loop that do not depend on what is trained."""

    steps: int = Field(default=20_000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=8, ge=1)
    optimiser: Literal["adam", "muon"] = Field(default="adam", description="muon learns faster from nothing")
    learning_rate: float = Field(default=1e-3, gt=0, description="highest, after the warm-up")
    final_learning_rate: float = Field(default=1e-6, ge=0, description="lowest, at the end of the cosine")
    warmup_steps: int = Field(default=200, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = Field(default=0.5, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(default=0.999, ge=0, lt=1, description="of the averaged weights, which are the result")
    precision: Precision = Field(default="auto", description="auto: bf16 where the machine is fast at it")
    workers: int = Field(default=1, ge=0, description="processes that make batches")
    save_every_steps: int = Field(default=250, ge=1)
    round_steps: int = Field(default=50, ge=1, description="the schedule looks at the run after so many steps")
    seed: int = 0


def learning_rate(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then a cosine from ``learning_rate`` to ``final_learning_rate``.

    >>> [round(learning_rate(LoopConfig(steps=100, warmup_steps=10), step), 5) for step in (0, 9, 55, 100)]
    [0.0001, 0.001, 0.0005, 0.0]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


class Schedule(Protocol):
    """The learning rate, and when to stop; ``state`` is saved with the run."""

    state: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether to stop before the last step."""
        ...

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        ...

    def after_round(self, loop: Loop) -> None:
        """Look at the loop after each ``round_steps`` steps."""
        ...


class Cosine:
    """Linear warm-up, then a cosine, to the last step."""

    finished = False

    def __init__(self, config: LoopConfig) -> None:
        self.config = config
        self.state: dict[str, Any] = {}

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return learning_rate(self.config, step)

    def after_round(self, loop: Loop) -> None:
        """Nothing to decide."""


class Items(Protocol):
    """What is trained on."""

    def __getitem__(self, index: int) -> Any:
        """One item, always the same for the same index."""
        ...


class Loop:
    """Trains a module with Adam or Muon, gradient clipping and averaged weights.

    ``dataset[index]`` depends on ``index`` alone and step ``s`` sees the items from ``s * batch_size`` on, and the
    learning rate is a function of the step and the schedule's state. So the step, the schedule, the weights, their
    average and the optimiser's moments are all that a resumed run needs. ``objective(module, batch)`` returns scalars,
    of which ``"loss"`` is minimised.
    """

    def __init__(
        self,
        module: nn.Module,
        objective: Objective,
        dataset: Items,
        config: LoopConfig,
        folder: Path,
        schedule: Schedule | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.schedule: Schedule = schedule or Cosine(config)
        self.recipe = json.loads(json.dumps({"loop": config.model_dump(mode="json"), **(recipe or {})}))
        self.config, self.folder, self.objective, self.dataset = config, folder, objective, dataset
        self.accelerator = Accelerator(log_with="tensorboard", project_dir=folder)
        optimiser = (
            Muon(module.parameters(), lr=config.learning_rate)
            if config.optimiser == "muon"
            else torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=config.betas)
        )
        self.module, self.optimiser = cast(
            "tuple[nn.Module, torch.optim.Optimizer]",
            self.accelerator.prepare(module.to(memory_format=torch.channels_last), optimiser),
        )
        self.plain = cast(nn.Module, self.accelerator.unwrap_model(self.module))
        self.step = 0
        self.ema = {name: value.detach().clone() for name, value in self.plain.named_parameters()}

    def run(self, *, stop_at: int | None = None, on_save: Callable[[Loop], None] | None = None) -> None:
        """Train to the end, or to step ``stop_at``, from the last saved state if there is one.

        ``on_save`` is called after every saved state.
        """
        self.resume()
        last = min(self.config.steps, stop_at or self.config.steps)
        self.accelerator.init_trackers("log")
        with Steps("steps", self.config.steps) as progress:
            started, first = time.monotonic(), self.step
            for batch in self._batches(last):
                values = {name: float(value) for name, value in self._train_step(batch).items()}
                pace = (time.monotonic() - started) / (self.step - first)
                report = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
                progress.update(self.step, note=f"{report}  {pace:.2f} s/step")
                if self.step % LOG_EVERY_STEPS == 0 or self.step == last:
                    self.accelerator.log(values, step=self.step)
                if self.step % self.config.round_steps == 0:
                    self.schedule.after_round(self)
                if self.step % self.config.save_every_steps == 0 or self.step == last or self.schedule.finished:
                    self.save()
                    if on_save is not None:
                        on_save(self)
                if self.schedule.finished:
                    break
        self.accelerator.end_training()

    def _train_step(self, batch: Any) -> dict[str, Tensor]:
        rate = self.schedule.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with autocast(self.accelerator.device, self.config.precision):
            values = self.objective(self.module, batch)
        self.accelerator.backward(values["loss"])
        norm = cast(Tensor, self.accelerator.clip_grad_norm_(self.module.parameters(), self.config.gradient_clip))
        if not bool(torch.isfinite(values["loss"]) and torch.isfinite(norm)):
            raise UserError(
                f"loss or gradient is not finite at step {self.step}: lower learning_rate; {STATE} is intact"
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.step += 1
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.plain.named_parameters():
                self.ema[name].lerp_(value, 1 - decay)
        detached = {name: value.detach() for name, value in values.items()}
        return {**detached, "gradient_norm": norm, "learning_rate": torch.tensor(rate)}

    def _batches(self, last: int) -> Iterator[Any]:
        """This process's share of the batches of every step up to ``last``; a loader a round."""
        share = self.config.batch_size // self.accelerator.num_processes
        offset = share * self.accelerator.process_index
        while self.step < last and not self.schedule.finished:
            stop = min(last, (self.step // self.config.round_steps + 1) * self.config.round_steps)
            starts = range(self.step * self.config.batch_size, stop * self.config.batch_size, self.config.batch_size)
            loader = DataLoader(
                cast("Dataset[Any]", self.dataset),
                batch_size=share,
                sampler=[start + offset + item for start in starts for item in range(share)],
                num_workers=self.config.workers,
                prefetch_factor=4 if self.config.workers else None,
                pin_memory=self.accelerator.device.type == "cuda",
            )
            for batch in _read(loader):
                yield [
                    part.to(
                        self.accelerator.device,
                        memory_format=torch.channels_last if part.dim() == 4 else torch.preserve_format,
                    )
                    for part in batch
                ]

    def averaged_state(self) -> dict[str, Tensor]:
        """State dict of the averaged weights, with every name of a shared parameter."""
        names = {id(parameter): name for name, parameter in self.plain.named_parameters()}
        state = self.plain.state_dict(keep_vars=True)
        return {key: self.ema[names[id(value)]] if id(value) in names else value for key, value in state.items()}

    def save(self) -> None:
        """Write what a resumed run needs, whole or not at all."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"ema.{name}": value for name, value in self.ema.items()}
        for name, parameter in self.plain.named_parameters():
            tensors[f"weights.{name}"] = parameter.detach()
            for moment, value in self.optimiser.state[parameter].items():
                tensors[f"{moment}.{name}"] = value
        tensors |= {f"buffer.{name}": value for name, value in self.plain.named_buffers()}
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        about = {
            "schedule": self.schedule.state,
            "step": self.step,
            "recipe": self.recipe,
        }
        write_atomically(self.folder / STATE, save(tensors, {"run": json.dumps(about)}))

    def resume(self) -> None:
        """Take up the last saved state of the folder; without one, start at step 0."""
        path = self.folder / STATE
        if not path.exists():
            return
        tensors, metadata = read_safetensors(path)
        if "run" not in metadata:
            raise UserError(f"{path} is not the state of a run: remove it to start again")
        about = json.loads(metadata["run"])
        self._check_same_run(path, about.get("recipe", {}))
        for name, parameter in self.plain.named_parameters():
            if f"weights.{name}" not in tensors or tensors[f"weights.{name}"].shape != parameter.shape:
                raise UserError(f"{path} is the state of another network: it has no fitting {name}")
        self.step = int(about["step"])
        self.schedule.state.update(about.get("schedule", {}))
        with torch.no_grad():
            for name, value in self.plain.named_buffers():
                value.copy_(tensors[f"buffer.{name}"])
            for name, parameter in self.plain.named_parameters():
                parameter.copy_(tensors[f"weights.{name}"])
                self.ema[name].copy_(tensors[f"ema.{name}"])
                state: dict[str, Tensor] = {}
                for key, value in tensors.items():
                    moment, _, owner = key.partition(".")
                    if owner == name and moment not in ("weights", "ema"):
                        like = (
                            torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
                        )
                        state[moment] = like.copy_(value)  # keeps the parameter's memory layout
                self.optimiser.state[parameter] = state

    def _check_same_run(self, path: Path, earlier: dict[str, Any]) -> None:
        """Settings that change the course of a run must be those it was started with."""
        free = {"loop.workers", "loop.save_every_steps"}
        before, now = _flat(earlier), _flat(self.recipe)
        changed = [
            f"{key} {before.get(key)} -> {now.get(key)}"
            for key in sorted(before.keys() | now.keys())
            if key not in free and before.get(key) != now.get(key)
        ]
        if changed:
            raise UserError(f"{path} is of a run with other settings ({', '.join(changed)}): choose another folder")


def _read(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches; an error of the user in a process that makes them arrives as one line, without a traceback."""
    try:
        yield from loader
    except UserError as error:
        raise UserError(str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]) from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(cast("dict[str, Any]", value), f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
