"""Settings of the training loop, the learning rate that follows from them, and when to stop."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

from pydantic import Field

from tfmlc.config import Config
from tfmlc.runtime.device import TrainingPrecision


class LoopConfig(Config):
    """Settings of the loop that do not depend on what is trained."""

    steps: int = Field(default=20_000, ge=1, description="optimiser steps")
    batch_size: int = Field(default=8, ge=1, description="items of a step, over all processes")
    accumulate: int = Field(default=1, ge=1, description="parts a process computes its share of a batch in")
    optimiser: Literal["adam", "muon"] = Field(default="adam", description="muon learns faster from nothing")
    learning_rate: float = Field(default=1e-3, gt=0, description="highest, after the warm-up")
    final_learning_rate: float = Field(default=1e-6, ge=0, description="lowest, at the end of the cosine")
    warmup_steps: int = Field(default=200, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_clip: float = Field(default=0.5, gt=0, description="largest norm of the gradient")
    ema_decay: float = Field(default=0.999, ge=0, lt=1, description="of the averaged weights, which are the result")
    precision: TrainingPrecision = Field(default="auto", description="auto: bf16 where the machine is fast at it")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(default=1, ge=0, description="processes that make batches")
    save_every_steps: int = Field(default=250, ge=1)
    trackers: list[Literal["tensorboard", "wandb"]] = Field(default=["tensorboard"], description="what logs the run")
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
    """The learning rate, and when to stop; looks at the run every ``round_steps``; ``state`` is saved with it."""

    state: dict[str, Any]
    round_steps: int

    @property
    def finished(self) -> bool:
        """Whether to stop before the last step."""
        ...

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        ...

    def after_round(self, loop: Any) -> None:
        """Look at the loop after each ``round_steps`` steps."""
        ...


class Cosine:
    """Linear warm-up, then a cosine, to the last step."""

    finished = False

    def __init__(self, config: LoopConfig, round_steps: int = 50) -> None:
        self.config, self.round_steps = config, round_steps
        self.state: dict[str, Any] = {}

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return learning_rate(self.config, step)

    def after_round(self, loop: Any) -> None:
        """Nothing to decide."""
