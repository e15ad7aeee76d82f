"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any, Protocol

FLOOR, FACTOR, LEAST_IMPROVEMENT = 1e-8, 0.1, 1e-4


class Schedule(Protocol):
    """A learning rate for every step, and whether to stop early. ``state`` is saved with the run."""

    state: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether the run should stop now, before its last step."""
        ...

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        ...


class Cosine:
    """A linear warm-up, then a cosine.

    Args:
        steps: The number of steps of the run.
        highest: The learning rate at the end of the warm-up.
        lowest: The learning rate at the last step.
        warmup_steps: The number of steps of the warm-up.

    Example:
        >>> schedule = Cosine(steps=100, highest=1e-3, lowest=0.0, warmup_steps=10)
        >>> [round(schedule.rate(step), 5) for step in (0, 9, 55, 100)]
        [0.0001, 0.001, 0.0005, 0.0]
    """

    finished = False

    def __init__(self, *, steps: int, highest: float, lowest: float, warmup_steps: int = 0) -> None:
        self.steps, self.highest, self.lowest, self.warmup_steps = steps, highest, lowest, warmup_steps
        self.state: dict[str, Any] = {}

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step < self.warmup_steps:
            return self.highest * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.lowest + (self.highest - self.lowest) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


class Plateau:
    """A learning rate that falls to a tenth when the validation loss stops improving.

    Call ``update`` with the validation loss of every epoch.

    Args:
        rate: The learning rate at the start.
        patience: The number of epochs without improvement that are tolerated before the learning rate falls.
        give_up: The number of epochs without improvement after which the run ends.

    Example:
        >>> schedule = Plateau(1e-4, patience=1, give_up=3)
        >>> [schedule.update(loss) for loss in (2.0, 1.0, 1.0, 1.0)], round(schedule.rate(0), 6), schedule.finished
        ([True, True, False, False], 1e-05, False)
    """

    def __init__(self, rate: float, *, patience: int, give_up: int) -> None:
        self.patience, self.give_up = patience, give_up
        self.state: dict[str, Any] = {"rate": rate, "best": None, "waited": 0}

    @property
    def finished(self) -> bool:
        """Whether there has been no improvement for ``give_up`` epochs."""
        return int(self.state["waited"]) >= self.give_up

    def rate(self, step: int) -> float:  # noqa: ARG002
        """Return the learning rate, which is the same for all steps until the next ``update``."""
        return float(self.state["rate"])

    def update(self, loss: float) -> bool:
        """Use the validation loss of an epoch; return whether it is the best so far."""
        if self.state["best"] is None or loss < self.state["best"] * (1 - LEAST_IMPROVEMENT):
            self.state |= {"best": loss, "waited": 0}
            return True
        self.state["waited"] += 1
        if self.state["waited"] % (self.patience + 1) == 0:
            self.state["rate"] = max(FLOOR, self.state["rate"] * FACTOR)
        return False
