"""Folders of pairs: ``blur/`` and ``sharp/`` with the same names in both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.data.stills import random_turn, to_tensor
from tfmlc.errors import UserError
from tfmlc.images import find_pictures, read_rgb8


@dataclass(frozen=True)
class Pair:
    """A blurry picture and its sharp partner."""

    name: str
    blurry: Path
    sharp: Path


def find_pairs(folder: Path) -> list[Pair]:
    """The pairs in ``folder/blur`` and ``folder/sharp``, scene folders included, in natural order.

    Raises UserError for a missing folder and for a picture without a partner, which it names.
    """
    for part in ("blur", "sharp"):
        if not (folder / part).is_dir():
            raise UserError(f"{folder} has no folder {part}: pairs lie in {folder}/blur and {folder}/sharp")
    blurry = {str(name): path for path, name in find_pictures(folder / "blur")}
    sharp = {str(name): path for path, name in find_pictures(folder / "sharp")}
    for here, there, side in ((blurry, sharp, "sharp"), (sharp, blurry, "blur")):
        if alone := [name for name in here if name not in there]:
            raise UserError(f"{here[alone[0]]} has no partner {folder / side / alone[0]} ({len(alone)} such)")
    return [Pair(name, path, sharp[name]) for name, path in blurry.items()]


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both pictures as RGB uint8; raises UserError where their sizes differ."""
    blurry, sharp = read_rgb8(pair.blurry), read_rgb8(pair.sharp)
    if blurry.shape != sharp.shape:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (blurry, sharp))
        raise UserError(f"{pair.blurry} and {pair.sharp} differ in size: {sizes}")
    return blurry, sharp


class PairFolder(Dataset[tuple[Tensor, Tensor]]):
    """Random crops of pairs, turned and mirrored, RGB in [0, 1], ``3 patch_px patch_px``.

    Crop number ``index`` depends on ``seed`` and ``index`` alone; every pass over the folder has an order of its
    own. Raises UserError where a picture is smaller than the crop.
    """

    def __init__(self, folder: Path, *, patch_px: int, length: int, seed: int = 0) -> None:
        self.pairs = find_pairs(folder)
        self.patch_px, self.length, self.seed = patch_px, length, seed
        self.progress = 1.0

    def after_round(self, means: Mapping[str, float]) -> None:
        """Ready pairs do not get harder."""

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        turn, place = divmod(index, len(self.pairs))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.pairs))
        pair = self.pairs[int(order[place])]
        rng = np.random.default_rng([self.seed, turn, place])
        blurry, sharp = read_pair(pair)
        side, (height, width) = self.patch_px, map(int, blurry.shape[:2])
        if min(height, width) < side:
            raise UserError(f"{pair.blurry} is {width}x{height}, smaller than data.patch_px={side}")
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        both = np.stack([blurry, sharp])[:, top : top + side, left : left + side]
        turned = random_turn(both, rng)
        return to_tensor(turned[0]), to_tensor(turned[1])
