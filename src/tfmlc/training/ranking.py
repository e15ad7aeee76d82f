"""How well an adapter ranks blur: distances to the sharp image, accuracy, and validation after every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tfmlc.io.checkpoint import CheckpointInfo
from tfmlc.losses.adapter import Adapter, as_tokens
from tfmlc.losses.triplet import distance, ranking_loss
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.loop import Hook, Loop
from tfmlc.training.schedule import Plateau


class EpochValidation(Hook):
    """Validates after every epoch, informs the schedule, and keeps the best adapter in ``best.safetensors``.

    Args:
        config: The settings of the adaptation.
        features: Features of the validation triplets, ``b m n d``.
        schedule: The schedule, which gets the validation loss.
        epoch_steps: The number of steps of an epoch.
    """

    def __init__(self, config: AdaptConfig, features: Tensor, schedule: Plateau, epoch_steps: int) -> None:
        super().__init__()
        self.config, self.features, self.schedule, self.epoch_steps = config, features, schedule, epoch_steps
        self.state = {"history": []}

    def after_step(self, loop: Loop) -> None:
        """Validate after the last step of an epoch."""
        if loop.step % self.epoch_steps:
            return
        adapter = cast(Adapter, loop.plain)
        adapter.eval()
        with torch.no_grad():
            distances = adapted_distances(adapter, self.features.to(loop.accelerator.device)).cpu()
        adapter.train()
        loss, rate = float(ranking_loss(list(distances.T), self.config.margin)), self.schedule.rate(loop.step)
        accuracy = ranking_accuracy(distances)
        self.state["history"].append({"loss": round(loss, 6), "accuracy": round(accuracy, 4), "rate": rate})
        if self.schedule.update(loss):
            save_adapter(loop.folder / "best.safetensors", adapter, self.config)


def save_adapter(path: Path, adapter: Adapter, config: AdaptConfig) -> CheckpointInfo:
    """Write an adapter with its origin; return the info that the file contains."""
    origin = f"trained by tfmlc adapt on {config.backbone} block {config.block}, {config.alignment} augmentation"
    return adapter.save(path, origin=origin, licence=config.licence)


def adapted_distances(adapter: nn.Module, features: Tensor) -> Tensor:
    """Compute the distances of blurry images to the sharp image, after the adapter.

    Args:
        adapter: The adapter.
        features: Features of triplets, ``b m n d``, the sharp image first.

    Returns:
        Distances ``b levels``.
    """
    batch, members = features.shape[:2]
    embedded: Tensor = adapter(features.flatten(0, 1))
    tokens = as_tokens(embedded)
    return plain_distances(tokens.view(batch, members, *tokens.shape[1:]))


def plain_distances(features: Tensor) -> Tensor:
    """Compute the distances ``b levels`` of blurry images to the sharp image, from features ``b m n d``.

    >>> plain_distances(torch.rand(5, 3, 7, 16)).shape
    torch.Size([5, 2])
    """
    return torch.stack([distance(features[:, 0], features[:, level]) for level in range(1, features.shape[1])], dim=1)


def ranking_accuracy(distances: Tensor) -> float:
    """Return the fraction of pairs of blur levels, over all triplets, that are ranked correctly.

    A pair is ranked correctly if the stronger blur is farther from the sharp image.

    Args:
        distances: Distances ``b levels`` to the sharp image, the weakest blur first.

    Returns:
        The fraction; NaN if there is only one level.

    Example:
        >>> ranking_accuracy(torch.tensor([[0.1, 0.2], [0.3, 0.1]]))
        0.5
    """
    levels = range(distances.shape[1])
    pairs = [distances[:, i] < distances[:, j] for i in levels for j in levels if i < j]
    return float(torch.stack(pairs).float().mean()) if pairs else float("nan")
