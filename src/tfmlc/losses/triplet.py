"""What an adapter minimises: blur must be ranked by its strength (ICIP 2023, equation 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tfmlc.losses.adapter import as_tokens

SMALLEST = 1e-12


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean distance of two vectors; of token sequences, the root of the tokens' mean squared distance.

    Both are ``b d`` or ``b n d``; the answer is ``b``.

    >>> distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])), distance(torch.zeros(1, 9, 2), torch.ones(1, 9, 2))
    (tensor([5.]), tensor([1.4142]))
    """
    squared = (as_tokens(one) - as_tokens(other)).square().sum(dim=2).mean(dim=1)
    return (squared + SMALLEST).sqrt()


def ranking_loss(distances: Sequence[Tensor], margin: float = 1.0) -> Tensor:
    """Hinge loss that wants every stronger blur farther away, by ``margin`` for each level between.

    ``distances`` are the sharp anchor's distances ``b`` to its blurs, weakest first; the answer is the mean of
    ``max(d_i - d_j + (j - i) margin, 0)`` over the batch and over all ``i < j``. With two levels it is the triplet
    loss of the paper, with more its ordinal variant.

    >>> float(ranking_loss([torch.tensor([1.0]), torch.tensor([1.5]), torch.tensor([4.0])]))
    0.1666666716337204
    """
    pairs = [
        torch.relu(weaker - stronger + (later - earlier) * margin)
        for earlier, weaker in enumerate(distances)
        for later, stronger in enumerate(distances)
        if earlier < later
    ]
    return torch.stack(pairs).mean()


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0) -> Tensor:
    """Mean of ``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``: sharp, weak blur, strong blur.

    All are ``b d`` or ``b n d``; the answer is a scalar (ICIP 2023, equation 1).

    >>> sharp = torch.zeros(1, 2)
    >>> float(triplet_loss(sharp, sharp + 1, sharp + 2))
    0.0
    """
    return ranking_loss([distance(anchor, positive), distance(anchor, negative)], margin)
