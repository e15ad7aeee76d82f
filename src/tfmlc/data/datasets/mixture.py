"""Mixtures of training sources, and pairs that are made once and read many times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.config import read_record
from tfmlc.data.synthesis.motion_spectrum import DIRECTIONS, RADII
from tfmlc.errors import UserError
from tfmlc.io.files import read_json, replaced, write_atomically
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.locks import folder_lock
from tfmlc.runtime.parallel import worker_pool
from tfmlc.runtime.progress import Progress

BLOCK = 100  # items per file
SETTINGS = "settings.json"


class _Prepared(BaseModel):
    count: int


class PreparedPairs(Dataset[tuple[Tensor, ...]]):
    """Random crops of pairs that ``prepare`` made, in one of the eight orientations of a square.

    Item number ``index`` depends on ``seed`` and ``index`` alone. Every pass over the pairs has its own order.

    Args:
        folder: The folder of the prepared pairs.
        patch_px: The side of the crops.
        length: The number of items.
        seed: The seed of the random choices.
        cell_px: The side of a cell of the blur's spectrum, if the pairs have one. It must divide ``patch_px``, and
            crops then start at multiples of it.

    Raises:
        UserError: If the folder has no settings file of prepared pairs.
    """

    def __init__(self, folder: Path, *, patch_px: int, length: int, seed: int = 0, cell_px: int | None = None) -> None:
        self.folder, self.patch_px, self.length, self.seed, self.cell_px = folder, patch_px, length, seed, cell_px
        self.count = read_record(
            folder / SETTINGS, _Prepared, "a settings file of prepared pairs", "remove the folder to prepare them again"
        ).count
        self._open: dict[Path, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        turn, place = divmod(index, self.count)
        order = np.random.default_rng([self.seed, turn]).permutation(self.count)
        block, row = divmod(int(order[place]), BLOCK)
        rng = np.random.default_rng([self.seed, turn, place])
        pair = self._array(f"{block:05d}.npy")[row]
        grid = self.cell_px or 1
        offsets = rng.integers(0, (np.array(pair.shape[1:3]) - self.patch_px) // grid + 1) * grid
        top, left = int(offsets[0]), int(offsets[1])
        rotation, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)
        window = pair[:, top : top + self.patch_px, left : left + self.patch_px]
        images = turned(window, (1, 2), rotation, mirrored)
        answer = to_tensor(images[0]), to_tensor(images[1])
        if self.cell_px is None:
            return answer
        cells, top, left = self.patch_px // self.cell_px, top // self.cell_px, left // self.cell_px
        spectrum = self._array(f"{block:05d}-spectra.npy")[row][:, top : top + cells, left : left + cells]
        return (*answer, torch.from_numpy(turned_spectrum(spectrum, rotation, mirrored).astype(np.float32)))

    def _array(self, name: str) -> NDArray[Any]:
        path = self.folder / name
        if path not in self._open:
            try:
                self._open[path] = np.load(path, mmap_mode="r")
            except (OSError, ValueError, EOFError) as error:  # of a file that is cut off, as after a power failure
                raise UserError(f"{path} is missing or damaged: remove {self.folder} to prepare it again") from error
        return self._open[path]


class Mixture(Dataset[tuple[Tensor, ...]]):
    """Items that are drawn at random from several sources. The choice depends on ``seed`` and the index alone.

    Args:
        sources: By name, how often a source is drawn relative to the others, and its dataset.
        length: The number of items.
        seed: The seed of the random choices.
        spectrum: The number of channels of the blur's spectrum and of cells along a side. Items without a spectrum then
            get one that is filled with NaN.

    Example:
        >>> zeros = torch.utils.data.TensorDataset(torch.zeros(4), torch.zeros(4))
        >>> ones = torch.utils.data.TensorDataset(torch.ones(4), torch.ones(4))
        >>> mixture = Mixture({"many": (3.0, zeros), "few": (1.0, ones)}, length=4)
        >>> sorted(int(mixture[index][0]) for index in range(4))
        [0, 0, 0, 1]
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[float, Dataset[tuple[Tensor, ...]]]],
        *,
        length: int,
        seed: int = 0,
        spectrum: tuple[int, int] | None = None,
    ) -> None:
        weights = np.array([weight for weight, _ in sources.values()])
        self.ends = np.cumsum(weights / weights.sum())
        self.sources = [source for _, source in sources.values()]
        self.length, self.seed, self.spectrum = length, seed, spectrum

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        drawn = np.random.default_rng([self.seed, index, 1]).random()
        item = self.sources[min(int(np.searchsorted(self.ends, drawn)), len(self.sources) - 1)][index]
        if self.spectrum is not None and len(item) == 2:
            channels, cells = self.spectrum
            item = (*item, torch.full((channels, cells, cells), torch.nan))
        return item


def turned(images: NDArray[Any], axes: tuple[int, int], rotation: int, mirrored: bool) -> NDArray[Any]:
    """Rotate images by ``rotation`` quarter turns, then mirror them left to right if ``mirrored``.

    ``axes`` are the axes of height and width.

    >>> turned(np.array([[[1, 2], [3, 4]]]), (1, 2), 1, mirrored=False).tolist()
    [[[2, 4], [1, 3]]]
    """
    images = np.rot90(images, rotation, axes=axes)
    return np.flip(images, axes[1]) if mirrored else images


def turned_spectrum(spectrum: NDArray[Any], rotation: int, mirrored: bool) -> NDArray[Any]:
    """Return the spectrum of a motion, ``24 h w``, after the images were rotated and mirrored as in ``turned``."""
    split = turned(spectrum, (1, 2), rotation, mirrored).reshape(len(RADII), DIRECTIONS, *spectrum.shape[1:])
    if rotation % 2:
        split = np.roll(split, DIRECTIONS // 2, axis=1)
    if mirrored:
        split = split[:, -np.arange(DIRECTIONS) % DIRECTIONS]
    return split.reshape(spectrum.shape)


def prepare(
    dataset: Dataset[tuple[Tensor, ...]],
    count: int,
    folder: Path,
    recipe: Mapping[str, Any],
    workers: int | None = None,
) -> None:
    """Write the first ``count`` items of a dataset to files.

    Existing files are kept, so an interrupted run continues.

    Args:
        dataset: The dataset.
        count: The number of items.
        folder: The folder for the files.
        recipe: How the dataset was made. It is stored with the files.
        workers: The number of processes. None takes one per core.

    Raises:
        UserError: If the folder was prepared with another recipe or count.
    """
    settings = json.loads(json.dumps({**recipe, "count": count}))
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder, wait=True):
        path = folder / SETTINGS
        if path.exists() and read_json(path) != settings:
            raise UserError(
                f"{folder} was prepared with other settings or photos: remove it, or set another data.prepared"
            )
        write_atomically(path, (json.dumps(settings, indent=1) + "\n").encode())
        blocks = [
            (number, min(BLOCK, count - number * BLOCK))
            for number in range(-(-count // BLOCK))
            if not (folder / f"{number:05d}.npy").exists()
        ]
        if not blocks:
            return
        with worker_pool(workers, jobs=len(blocks)) as pool, Progress("prepared", len(blocks)) as progress:
            make = partial(_make_block, dataset, folder)
            for task in as_completed([pool.submit(make, number, size) for number, size in blocks]):
                task.result()
                progress.advance()


def _make_block(dataset: Dataset[tuple[Tensor, ...]], folder: Path, number: int, size: int) -> None:
    items = [dataset[number * BLOCK + row] for row in range(size)]
    pairs = [torch.stack(item[:2]).mul(255).round().byte().permute(0, 2, 3, 1).numpy() for item in items]
    if len(items[0]) > 2:
        _save(folder / f"{number:05d}-spectra.npy", np.stack([item[2].numpy() for item in items]).astype(np.float16))
    _save(folder / f"{number:05d}.npy", np.stack(pairs))


def _save(path: Path, array: NDArray[Any]) -> None:
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)
