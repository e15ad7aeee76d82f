"""The training loop: any module, any data, any objective; stopped and resumed without a trace."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import ProjectConfiguration
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.runtime.device import Resolved, autocast, resolve_precision
from tfmlc.runtime.progress import Progress
from tfmlc.training.muon import Muon
from tfmlc.training.schedule import Cosine, LoopConfig, Schedule
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


class Loop:
    """Trains a module with Adam or Muon, gradient clipping and averaged weights; in one process, or in many.

    ``dataset[index]`` depends on ``index`` alone and step ``s`` sees the items from ``s * batch_size`` on, and the
    learning rate is a function of the step and the schedule's state. So the step, the schedule, the weights, their
    average and the optimiser's moments are all that a resumed run needs; a folder that holds them is taken up.
    ``objective(module, batch)`` returns scalars, means over the batch, of which ``"loss"`` is minimised. Under
    ``accelerate launch`` every process computes its share of each batch. ``recipe`` is what else must be the same in
    a resumed run, unless ``force`` is set.
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
        *,
        force: bool = False,
    ) -> None:
        torch.manual_seed(config.seed)
        self.schedule: Schedule = schedule or Cosine(config)
        self.recipe = json.loads(json.dumps({"loop": config.model_dump(mode="json"), **(recipe or {})}))
        self.config, self.folder, self.objective, self.dataset = config, folder, objective, dataset
        self.accelerator = _accelerator(config, folder)
        parts = self.accelerator.num_processes * config.accumulate
        if config.batch_size % parts:
            raise UserError(
                f"loop.batch_size={config.batch_size} is no multiple of processes times accumulate, {parts}"
            )
        self.precision: Resolved = resolve_precision(self.accelerator.device, config.precision)
        spread = self.accelerator.distributed_type is DistributedType.FSDP  # which takes contiguous weights only
        module.to(self.accelerator.device)
        module.to(memory_format=torch.contiguous_format if spread else torch.channels_last)
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
        self.scaler = torch.GradScaler(self.accelerator.device.type, enabled=self.precision == "fp16")
        self.step = 0
        self.ema = {name: value.detach().clone() for name, value in self.plain.named_parameters()}
        self._terminated = False
        self._resume(force=force)

    def run(self, *, stop_at: int | None = None, on_save: Callable[[Loop], None] | None = None) -> None:
        """Train to the end, or to step ``stop_at``.

        ``on_save`` is called after every saved state. SIGTERM, as clusters send it before they take a machine away,
        saves the state and leaves with status 143.
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
                if self.step % self.schedule.round_steps == 0:
                    self.schedule.after_round(self)
                due = self.step % self.config.save_every_steps == 0 or self.step == last
                if due or self.schedule.finished or self._terminated:
                    self.save()
                    if on_save is not None:
                        on_save(self)
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
                except ValueError as error:  # a loss that does not take what the network made
                    raise self._unusable(parts, str(error)) from error
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
        with torch.no_grad():
            for name, value in self.plain.named_parameters():
                self.ema[name].lerp_(value, 1 - decay)
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
        """This process's parts of the batches of every step up to ``last``; a loader a round."""
        size = self.config.batch_size
        share = size // self.accelerator.num_processes
        offset = share * self.accelerator.process_index
        step = self.step
        while step < last:
            stop = min(last, (step // self.schedule.round_steps + 1) * self.schedule.round_steps)
            loader = DataLoader(
                cast("Dataset[Any]", self.dataset),
                batch_size=share // self.config.accumulate,
                sampler=[start * size + offset + item for start in range(step, stop) for item in range(share)],
                num_workers=self.config.workers,
                prefetch_factor=4 if self.config.workers else None,
                pin_memory=self.accelerator.device.type == "cuda",
            )
            for batch in _read(loader):
                yield to_device(batch, self.accelerator.device)
            step = stop

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
            "schedule": self.schedule.state,
            "step": self.step,
            "recipe": self.recipe,
            "loss_scale": self.scaler.state_dict(),
        }
        write_atomically(self.folder / STATE, save(tensors, {"run": json.dumps(info)}))

    def _resume(self, *, force: bool) -> None:
        """Take up the last saved state of the folder; without one, start at step 0."""
        path = self.folder / STATE
        if not path.exists():
            return
        tensors, info = read_state(path)
        if not force:
            check_same_recipe(path, info.recipe, self.recipe)
        wanted = {f"{kind}.{name}": value for name, value in self.ema.items() for kind in ("weights", "ema")}
        wanted |= {f"buffer.{name}": value for name, value in self.plain.named_buffers()}
        for name, value in wanted.items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise UserError(f"{path} is the state of another network: it has no fitting {name.partition('.')[2]}")
        self.step = info.step
        self.schedule.state.update(info.schedule)
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


def to_device(batch: Iterable[Tensor], device: torch.device) -> list[Tensor]:
    """Tensors of a batch on the device, images channels last."""
    return [
        part.to(device, memory_format=torch.channels_last if part.dim() == 4 else torch.preserve_format)
        for part in batch
    ]


def _accelerator(config: LoopConfig, folder: Path) -> Accelerator:
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
