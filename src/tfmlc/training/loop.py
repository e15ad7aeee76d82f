"""The training loop: it trains any module on any data with any objective, and a stopped run can be resumed."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tfmlc.errors import OutOfRangeError, UserError
from tfmlc.io.files import write_atomically
from tfmlc.runtime.device import Resolved, autocast, resolve_precision
from tfmlc.runtime.progress import Progress, readable_duration
from tfmlc.training.batches import keep_bad_batch, load_batches
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.machine import make_accelerator, mean_over_processes, on_sigterm, tracker_settings, writing_logs
from tfmlc.training.muon import Muon
from tfmlc.training.schedule import Cosine, Schedule
from tfmlc.training.state import STATE, check_same_recipe, flat, read_state
from tfmlc.training.state_tensors import check_tensors, collect_tensors, restore_tensors, whole
from tfmlc.training.task import Task
from tfmlc.typed import channels_last

LOG_EVERY_STEPS = 10
LEAST_LOSS_SCALE = 1.0
TERMINATED = 128 + signal.SIGTERM


class Hook:
    """Functions that the loop calls. ``state`` is saved with the run."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def after_step(self, loop: Loop) -> None:
        """Run after every step."""

    def after_save(self, loop: Loop) -> None:
        """Run after every saved state."""


class Loop:
    """Train a module with Adam or Muon, gradient clipping and averaged weights, in one or several processes.

    Step ``s`` takes the items from ``s * batch_size`` on, and the learning rate is a function of the step and the
    state of the schedule. A run can therefore be resumed exactly from its step, weights, averaged weights, moments of
    the optimiser, and the states of the schedule and the hooks. Under ``accelerate launch`` every process computes its
    part of each batch.

    Args:
        task: What to train.
        config: The settings of the loop.
        folder: The folder of the run, for its state and logs.
        schedule: The learning rate. By default a warm-up and a cosine, as ``config`` says.
        hooks: What to do after steps and saved states.
        recipe: More settings that must be the same in a resumed run, in addition to ``config``.
        accelerator: The device and the processes. By default they are chosen as ``config`` says.

    Raises:
        UserError: If the batch cannot be split evenly, the device is not available, or a tracker is not installed.

    Example:
        >>> import tempfile
        >>> def objective(module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        ...     return {"loss": (module(batch[0]) - 1).square().mean()}
        >>> task = Task(nn.Linear(1, 1), objective, [(torch.ones(1),)] * 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     loop = Loop(task, LoopConfig(steps=4, batch_size=2, workers=0, trackers=[]), Path(folder)).resume()
        ...     loop.run()
        >>> loop.step
        4
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
        """Move the module to its device and create its optimiser."""
        config, parts = self.config, self.accelerator.num_processes * self.config.accumulate
        if config.batch_size % parts:
            raise UserError(
                f"loop.batch_size={config.batch_size} must be a multiple of {parts}: "
                "the number of processes times loop.accumulate"
            )
        sharded = self.accelerator.distributed_type is DistributedType.FSDP  # FSDP needs contiguous weights
        module.to(self.accelerator.device)
        if sharded:
            module.to(memory_format=torch.contiguous_format)
        else:
            channels_last(module)
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
        """Train to the end.

        If the process receives SIGTERM, it saves its state and exits with status 143.

        Args:
            stop_at: The step at which to stop. None trains to the last step of the settings.

        Raises:
            UserError: If the loss or the gradient is not finite, or the data cannot be read.
        """
        with writing_logs(self.folder):
            self._run(min(self.config.steps, stop_at or self.config.steps))
        if self._terminated:
            raise SystemExit(TERMINATED)

    def _run(self, last: int) -> None:
        shown = {key: str(value) for key, value in flat(self.recipe).items()}
        settings = tracker_settings(self.folder, self.config.trackers) if self.accelerator.is_main_process else {}
        self.accelerator.init_trackers("tfmlc", shown, settings)
        with Progress("steps", self.config.steps) as progress, on_sigterm(self._terminate):
            started, first = time.monotonic(), self.step
            batches = load_batches(self.dataset, self.config, self.accelerator, first, last)
            while self.step < last and not self.schedule.finished and not self._terminated:
                values = self._train_step([next(batches) for _ in range(self.config.accumulate)])
                pace = (time.monotonic() - started) / max(1, self.step - first)
                report = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
                progress.update(self.step, note=f"{report}  {readable_duration(pace * (last - self.step))} left")
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
                progress.say(
                    f"stopped by SIGTERM at step {self.step} of {self.config.steps}: run the same command to continue"
                )
        self.accelerator.end_training()

    def _terminate(self) -> None:
        self._terminated = True

    def _train_step(self, parts: list[Any]) -> dict[str, float]:
        rate = self.schedule.rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(parts, 1):
            torch.manual_seed(self.config.seed + self.step)  # the same draws in each process and in a resumed run
            waiting = number < len(parts)  # processes exchange gradients once per step
            with self.accelerator.no_sync(self.module) if waiting else nullcontext():
                try:
                    with autocast(self.accelerator.device, self.precision):
                        found = self.objective(self.module, batch)
                except OutOfRangeError as error:  # the network's output is far outside [0, 1]
                    raise self._unusable(parts, str(error)) from error
                except UserError as error:
                    raise UserError(f"{error} (at step {self.step})") from error
                self.scaler.scale(found["loss"] / len(parts)).backward()
            for name, value in found.items():
                values[name] = values.get(name, torch.zeros(())) + value.detach().float().cpu() / len(parts)
        self.scaler.unscale_(self.optimiser)
        clip = cast("Callable[..., Tensor]", self.accelerator.clip_grad_norm_)
        norm = whole(clip(self.module.parameters(), self.config.gradient_clip))
        measured = {**values, "gradient_norm": norm.cpu(), "terminated": self._terminated}
        report = mean_over_processes(self.accelerator, measured)
        self._terminated = report.pop("terminated") > 0
        overflow = self.scaler.is_enabled() and self.scaler.get_scale() > LEAST_LOSS_SCALE
        finite = all(math.isfinite(report[name]) for name in ("loss", "gradient_norm"))
        if not finite and not (overflow and math.isfinite(report["loss"])):
            raise self._unusable(parts, "the loss or the gradient is not finite")
        self._update()
        scale = {"loss_scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}
        return {**report, "learning_rate": rate, **scale}

    def _update(self) -> None:
        """Take the optimiser's step, and average the weights."""
        self.scaler.step(self.optimiser)  # in fp16 it skips a step whose gradients overflow
        self.scaler.update()
        self.optimiser.zero_grad()
        self.step += 1
        decay = min(self.config.ema_decay, self.step / (self.step + 10))
        now = [value.detach() for value in self.plain.parameters()]  # in the same order as the averaged weights
        get_ema_multi_avg_fn(decay)([*self.ema.values()], now, self.step)

    def _unusable(self, parts: list[Any], reason: str) -> UserError:
        """Keep the batch of a failed step, and return the error. The weights are still those before the step."""
        path = keep_bad_batch(parts, self.accelerator, self.folder, self.step)
        return UserError(
            f"{reason} (at step {self.step}): lower loop.learning_rate, or set loop.precision=fp32; "
            f"the batch is saved in {path}, and the saved state {STATE} is still good"
        )

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state dict of the averaged weights. A shared parameter appears under each of its names."""
        names = {id(parameter): name for name, parameter in self.plain.named_parameters()}
        state = self.plain.state_dict(keep_vars=True)
        return {key: whole(self.ema[names[id(value)]] if id(value) in names else value) for key, value in state.items()}

    def save(self) -> None:
        """Write the state of the run. An interruption leaves the earlier file intact."""
        tensors = collect_tensors(self.plain, self.ema, self.optimiser)
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
        """Continue from the last saved state in the folder, if there is one.

        Args:
            force: Whether to continue even if the settings have changed.

        Returns:
            The loop itself.

        Raises:
            UserError: If the saved state has other settings, is of another network or cannot be read.
        """
        path = self.folder / STATE
        if not path.exists():
            return self
        tensors, info = read_state(path)
        if not force:
            check_same_recipe(path, info.recipe, self.recipe)
        check_tensors(path, tensors, self.plain, self.ema)
        self.step = info.step
        for part in (self.schedule, *self.hooks):
            part.state.update({key: info.schedule[key] for key in part.state if key in info.schedule})
        if info.loss_scale:
            self.scaler.load_state_dict(info.loss_scale)
        same = info.recipe.get("loop", {}).get("optimiser", self.config.optimiser) == self.config.optimiser
        restore_tensors(tensors, self.plain, self.ema, self.optimiser if same else None)
        return self
