"""Weights from a seed, by the recipe in the reference material's golden/README."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def seeded_state(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(_seeded(name, tuple(shape), seed))) for name, shape in shapes.items()}


def _seeded(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    values = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(values)
    if np.prod(shape) == 1:
        return np.full(shape, 0.2, np.float32)
    if len(shape) > 1:
        return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
