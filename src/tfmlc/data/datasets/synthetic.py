"""Training pairs that are made from sharp photos on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.data.datasets.choice import split_by_size
from tfmlc.data.datasets.pairs import detail
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.data.synthesis.motion_spectrum import cell_centres, motion_spectrum
from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8
from tfmlc.io.images.tensors import to_tensor

MARGIN_PX = 24
DECODED = 128


@dataclass(frozen=True)
class Blurs:
    """How pairs are blurred.

    Attributes:
        usual: The settings of most pairs.
        easy: The settings of the other pairs.
        easy_fraction: The fraction of pairs that are blurred with ``easy``.
    """

    usual: BlurConfig
    easy: BlurConfig | None = None
    easy_fraction: float = 0.0

    def draw(self, rng: np.random.Generator) -> BlurConfig:
        """Draw the settings of one pair."""
        easy = self.easy is not None and rng.random() < self.easy_fraction
        return self.easy if easy and self.easy else self.usual


class SharpCrops:
    """Random crops of sharp photos, shrunk and turned at random, with a margin whose content can move into the crop.

    Photos smaller than a crop are left out, because an enlarged photo is not sharp. ``too_small`` lists them.

    Args:
        photos: The files of the sharp photos.
        crop_px: The side of the crops, without the margin.
        scale: The range of the random factor by which photos are shrunk.
        setting: The name of the setting that gives the side, for messages.

    Raises:
        UserError: If all photos are smaller than a crop, or there are none.
    """

    def __init__(self, photos: Sequence[Path], crop_px: int, scale: tuple[float, float], *, setting: str) -> None:
        self.photos, self.too_small = split_by_size(photos, crop_px, Path)
        if not self.photos:
            raise UserError(
                f"all {len(photos)} photos are smaller than {setting}={crop_px}, for example {photos[0]}: "
                f"use larger photos, or lower {setting}"
                if photos
                else "there are no photos to train on: set data.photos to a folder of photos, and check data.only"
            )
        self.crop_px, self.scale = crop_px, scale

    def draw(
        self, rng: np.random.Generator, photo: Path | None = None, factor: float | None = None
    ) -> tuple[NDArray[np.uint8], int]:
        """Draw a crop of a photo that is shrunk by a factor, by default of a random photo by a random factor.

        Returns the crop with its margin, and the margin's width.
        """
        crops = [self._crop(rng, photo, factor) for _ in range(2)]
        crop = max(crops, key=detail)  # nothing can be learned from a crop without detail, such as sky
        margin = (crop.shape[0] - self.crop_px) // 2
        return np.ascontiguousarray(random_turn(crop[None], rng)[0]), margin

    def draw_factor(self, rng: np.random.Generator) -> float:
        """Draw a factor by which a photo is shrunk."""
        return self.scale[0] * (self.scale[1] / self.scale[0]) ** rng.random()

    def _crop(self, rng: np.random.Generator, photo: Path | None, factor: float | None) -> NDArray[np.uint8]:
        """Return a random crop with a margin, shrunk by a factor. A small photo has a narrower margin."""
        pixels = _decoded(photo or self.photos[int(rng.integers(len(self.photos)))])
        height, width = map(int, pixels.shape[:2])
        side = self.crop_px + 2 * min(MARGIN_PX, (min(height, width) - self.crop_px) // 2)
        source = int(min(round(side / (factor or self.draw_factor(rng))), height, width))
        top, left = int(rng.integers(0, height - source + 1)), int(rng.integers(0, width - source + 1))
        crop = pixels[top : top + source, left : left + source]
        return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


class SyntheticPairs(Dataset[tuple[Tensor, ...]]):
    """Pairs ``(blurry, sharp)`` of random crops of sharp photos, ``3 patch_px patch_px``, RGB in [0, 1].

    Pair number ``index`` depends on ``seed`` and ``index`` alone, so any process can make it and a resumed run sees the
    same pairs. Photos smaller than a patch are left out, because an enlarged photo is not sharp. ``too_small`` lists
    them.

    Args:
        photos: The files of the sharp photos.
        blurs: How pairs are blurred.
        patch_px: The side of the crops.
        length: The number of pairs.
        seed: The seed of the random choices.
        scale: The range of the random factor by which photos are shrunk.
        cell_px: The side of a cell in px. If it is given, the blur's spectrum is a third tensor,
            ``24 patch_px/cell_px patch_px/cell_px`` (see ``motion_spectrum``).

    Raises:
        UserError: If all photos are smaller than a patch, or there are none.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        blurs: Blurs | BlurConfig,
        *,
        patch_px: int,
        length: int,
        seed: int = 0,
        scale: tuple[float, float] = (0.4, 1.0),
        cell_px: int | None = None,
    ) -> None:
        self.crops = SharpCrops(photos, patch_px, scale, setting="data.patch_px")
        self.too_small = self.crops.too_small
        cv2.setNumThreads(1)  # the loader runs several processes, and threads do not survive a fork
        for photo in self.crops.photos[:DECODED]:  # now, so that the processes of the loader share the decoded pixels
            _decoded(photo)
        self.blurs = blurs if isinstance(blurs, Blurs) else Blurs(blurs)
        self.patch_px, self.length, self.seed, self.cell_px = patch_px, length, seed, cell_px

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([self.seed, index])
        crop, margin = self.crops.draw(rng)
        blurry, sharp, record = blur_image(crop, self.blurs.draw(rng), rng, margin_px=margin)
        pair = to_tensor(blurry), to_tensor(sharp)
        if self.cell_px is None:
            return pair
        centres = cell_centres(self.patch_px, self.cell_px) + margin
        cells = self.patch_px // self.cell_px
        spectrum = motion_spectrum(record.trajectory.homographies(), centres).reshape(-1, cells, cells)
        return (*pair, torch.from_numpy(spectrum))


def random_turn(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put square images ``n h w c`` into one of the eight orientations of a square, the same for all."""
    turned = np.rot90(images, int(rng.integers(4)), axes=(1, 2))
    return turned[:, :, ::-1] if rng.random() < 0.5 else turned


@lru_cache(maxsize=DECODED)
def _decoded(path: Path) -> NDArray[np.uint8]:
    return read_rgb8(path)
