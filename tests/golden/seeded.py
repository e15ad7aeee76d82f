"""Weights and images from a seed, as values/README.md describes them; the golden values of this folder."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

VALUES = Path(__file__).with_name("values")


def read_json(name: str) -> dict[str, Any]:
    return json.loads((VALUES / name).read_text(encoding="utf-8"))


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


def seeded_images(seed: int, shape: tuple[int, ...] = (2, 3, 256, 256)) -> tuple[Tensor, Tensor]:
    """Restored and sharp, floats in [0, 1]."""
    rng = np.random.default_rng([seed, 7])
    sharp = rng.random(shape, dtype=np.float32)
    noise = rng.standard_normal(shape, dtype=np.float32)
    restored = np.clip(sharp + np.float32(0.1) * noise, 0, 1)
    return torch.from_numpy(restored), torch.from_numpy(sharp)


def seeded_pair8(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Restored and sharp, uint8 ``80 112 3``: plain squares, and squares with noise."""
    rng = np.random.default_rng([seed, 7])
    sharp = np.kron(rng.integers(0, 256, (10, 14, 3)), np.ones((8, 8, 1), np.int64))
    restored = np.clip(sharp + rng.integers(-40, 41, sharp.shape), 0, 255)
    return restored.astype(np.uint8), sharp.astype(np.uint8)
