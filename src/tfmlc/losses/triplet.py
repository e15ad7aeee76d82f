"""The losses that an adapter is trained with: stronger blur must be farther from the sharp image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfmlc.losses.adapter import as_tokens

SMALLEST = 1e-12  # keeps the gradient of the root finite at zero


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return the Euclidean distance of two vectors, or the root mean squared distance of their tokens.

    Args:
        one: Vectors ``b d`` or tokens ``b n d``.
        other: The same shape.

    Returns:
        One distance per element of the batch, ``b``.

    Example:
        >>> distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([5.])
        >>> distance(torch.zeros(1, 9, 2), torch.ones(1, 9, 2))
        tensor([1.4142])
    """
    squared = (as_tokens(one) - as_tokens(other)).square().sum(dim=2).mean(dim=1)
    return (squared + SMALLEST).sqrt()


def ranking_loss(distances: Sequence[Tensor], margin: float = 1.0) -> Tensor:
    """Return a hinge loss that moves each stronger blur farther away, by ``margin`` per level.

    The loss is the mean of ``max(d_i - d_j + (j - i) margin, 0)`` over the batch and over all ``i < j``. With two
    levels it is the triplet loss of the paper.

    Args:
        distances: The distances ``b`` from the sharp anchor to each level of blur, weakest first.
        margin: The wanted difference between neighbouring levels.

    Returns:
        A scalar.

    Example:
        >>> distances = [torch.tensor([1.0]), torch.tensor([1.5]), torch.tensor([4.0])]
        >>> ranking_loss(distances)
        tensor(0.1667)
    """
    pairs = [
        torch.relu(weaker - stronger + (later - earlier) * margin)
        for earlier, weaker in enumerate(distances)
        for later, stronger in enumerate(distances)
        if earlier < later
    ]
    return torch.stack(pairs).mean()


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Return the mean of ``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``.

    Args:
        anchor: The adapter's output of the sharp image, ``b d`` or ``b n d``.
        positive: That of the weakly blurred image.
        negative: That of the strongly blurred image.
        margin: The wanted difference of the two distances.

    Returns:
        A scalar.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, equation 1.

    Example:
        >>> sharp = torch.zeros(1, 2)
        >>> triplet_loss(sharp, sharp + 1, sharp + 2)
        tensor(0.)
    """
    return ranking_loss([distance(anchor, positive), distance(anchor, negative)], margin)
