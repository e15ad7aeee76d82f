"""Training pairs made on the fly from sharp photos."""

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

from tfmlc.data.datasets.pairs import detail
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.data.synthesis.motion_spectrum import cell_centres, motion_spectrum
from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8, read_size
from tfmlc.io.images.tensors import to_tensor

MARGIN_PX = 24
DECODED = 128


@dataclass(frozen=True)
class Blurs:
    """How pairs are blurred; ``easy_fraction`` of them as ``easy`` says."""

    usual: BlurConfig
    easy: BlurConfig | None = None
    easy_fraction: float = 0.0

    def draw(self, rng: np.random.Generator) -> BlurConfig:
        """The settings of one pair."""
        easy = self.easy is not None and rng.random() < self.easy_fraction
        return self.easy if easy and self.easy else self.usual


class SyntheticPairs(Dataset[tuple[Tensor, ...]]):
    """Endless pairs ``(blurry, sharp)`` of blurred crops of sharp photos, RGB in [0, 1], ``3 patch_px patch_px``.

    Pair number ``index`` depends on ``seed`` and ``index`` alone: any process can make it, and a resumed run sees the
    same pairs. Photos are shrunk by a random factor within ``scale``. With ``cell_px`` the blur's spectrum is a third
    tensor, ``24 patch_px/cell_px patch_px/cell_px`` (see ``motion_spectrum``). Photos smaller than a patch are left
    out, because enlarged they are not sharp; ``too_small`` lists them. Raises UserError where no photo is left.
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
        self.photos, self.too_small = split_by_size(photos, patch_px)
        if not self.photos:
            raise UserError(
                f"all {len(photos)} photos are smaller than data.patch_px={patch_px}, as {photos[0]}: "
                "take larger photos, or a smaller patch"
                if photos
                else "there are no photos to train on"
            )
        self.blurs = blurs if isinstance(blurs, Blurs) else Blurs(blurs)
        self.patch_px, self.length, self.seed, self.scale, self.cell_px = patch_px, length, seed, scale, cell_px
        cv2.setNumThreads(1)  # the loader's processes are the parallelism, and threads do not survive a fork
        for photo in self.photos[:DECODED]:  # before the loader's processes start, so that they share the pixels
            _decoded(photo)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng([self.seed, index])
        crops = [self._crop(rng) for _ in range(2)]
        crop = max(crops, key=detail)  # flat sky teaches nothing
        margin = (crop.shape[0] - self.patch_px) // 2
        crop = np.ascontiguousarray(random_turn(crop[None], rng)[0])
        blurry, sharp, record = blur_image(crop, self.blurs.draw(rng), rng, margin_px=margin)
        pair = to_tensor(blurry), to_tensor(sharp)
        if self.cell_px is None:
            return pair
        centres = cell_centres(self.patch_px, self.cell_px) + margin
        cells = self.patch_px // self.cell_px
        spectrum = motion_spectrum(record.trajectory.homographies(), centres).reshape(-1, cells, cells)
        return (*pair, torch.from_numpy(spectrum))

    def _crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A patch and its margin, which is narrower where the photo has not more; shrunk or as it is."""
        photo = _decoded(self.photos[int(rng.integers(len(self.photos)))])
        height, width = map(int, photo.shape[:2])
        side = self.patch_px + 2 * min(MARGIN_PX, (min(height, width) - self.patch_px) // 2)
        factor = self.scale[0] * (self.scale[1] / self.scale[0]) ** rng.random()
        source = int(min(round(side / factor), height, width))
        top, left = int(rng.integers(0, height - source + 1)), int(rng.integers(0, width - source + 1))
        crop = photo[top : top + source, left : left + source]
        return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def split_by_size(images: Sequence[Path], least_px: int) -> tuple[list[Path], list[Path]]:
    """Image files whose shorter side is at least ``least_px``, and the others; only their heads are read."""
    fits = {path: min(read_size(path)) >= least_px for path in images}
    return [path for path in images if fits[path]], [path for path in images if not fits[path]]


def random_turn(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One of the square's eight symmetries, the same for all images ``n h w c``."""
    turned = np.rot90(images, int(rng.integers(4)), axes=(1, 2))
    return turned[:, :, ::-1] if rng.random() < 0.5 else turned


@lru_cache(maxsize=DECODED)
def _decoded(path: Path) -> NDArray[np.uint8]:
    return read_rgb8(path)
