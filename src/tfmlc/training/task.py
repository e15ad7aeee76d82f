"""What a run trains: a module, an objective and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

Objective = Callable[[nn.Module, Any], dict[str, Tensor]]


class Items(Protocol):
    """The training data. An item depends on its index alone."""

    def __getitem__(self, index: int) -> Any:
        """Return one item."""
        ...


@dataclass(frozen=True)
class Task:
    """A module, what it should minimise, and on which data.

    Attributes:
        module: The module to train.
        objective: ``objective(module, batch)`` returns scalars by name, each a mean over the batch. The loop minimises
            the one called ``"loss"`` and logs the others.
        dataset: The data. ``dataset[index]`` must depend on ``index`` alone.
    """

    module: nn.Module
    objective: Objective
    dataset: Items
