"""Training pairs made on the fly from sharp photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.data.blur import BlurConfig, blur_still
from tfmlc.images import read_rgb8

MARGIN_PX = 24
DECODED = 128
PROGRESS_STEP = 0.04


class ShakenPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Endless pairs ``(blurry, sharp)`` of shaken crops, RGB in [0, 1], ``3 patch_px patch_px``.

    Pair number ``index`` depends on ``seed``, ``index`` and ``progress`` alone, so any process can make it and a
    resumed run sees what an uninterrupted one would. The photos are shrunk by a random factor within ``scale``.
    With ``start`` below 1 the blur is eased: each pair's lies between the simplest (0) and ``progress`` (1: all of it),
    see ``BlurConfig.eased``, and ``after_round`` moves that on from ``start`` whenever the network gains ``enough_db``.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        blur: BlurConfig,
        *,
        patch_px: int,
        length: int,
        seed: int = 0,
        scale: tuple[float, float] = (0.4, 1.0),
        start: float = 1.0,
        enough_db: float = 1.0,
    ) -> None:
        self.photos = list(photos)
        self.blur, self.patch_px, self.length, self.seed = blur, patch_px, length, seed
        self.scale, self.progress, self.eased, self.enough_db = scale, start, start < 1, enough_db
        cv2.setNumThreads(1)  # the loader's processes are the parallelism, and threads do not survive a fork
        for photo in self.photos[:DECODED]:  # before the loader's processes start, so that they share the pixels
            _decoded(photo)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        side = self.patch_px + 2 * MARGIN_PX
        crops = [self._crop(rng, side) for _ in range(2)]
        crop = max(crops, key=detail)  # flat sky teaches nothing
        # easier pairs keep teaching what harder ones build on
        blur = self.blur.eased(self.progress * rng.random() ** 0.5) if self.eased else self.blur
        blurry, sharp, _ = blur_still(crop, blur, rng, margin_px=MARGIN_PX)
        turned = random_turn(np.stack([blurry, sharp]), rng)
        return to_tensor(turned[0]), to_tensor(turned[1])

    def after_round(self, means: Mapping[str, float]) -> None:
        """Make the blur a little harder where the network does well, from the mean ``gain_db`` of a round."""
        if means["gain_db"] >= self.enough_db:
            self.progress = min(1.0, self.progress + PROGRESS_STEP)

    def _crop(self, rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
        photo = _decoded(self.photos[int(rng.integers(len(self.photos)))])
        height, width = map(int, photo.shape[:2])
        factor = self.scale[0] * (self.scale[1] / self.scale[0]) ** rng.random()
        source = int(min(round(side / factor), height, width))
        top, left = int(rng.integers(0, height - source + 1)), int(rng.integers(0, width - source + 1))
        crop = photo[top : top + source, left : left + source]
        how = cv2.INTER_AREA if source > side else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(crop, (side, side), interpolation=how), np.uint8)


def random_turn(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One of the square's eight symmetries, the same for all images ``n h w c``."""
    turned = np.rot90(images, int(rng.integers(4)), axes=(1, 2))
    return turned[:, :, ::-1] if rng.random() < 0.5 else turned


def detail(image: NDArray[np.uint8]) -> float:
    """Mean absolute step between neighbours, in stored values."""
    values = image.astype(np.int16)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Uint8 ``h w c`` to float ``c h w`` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


@lru_cache(maxsize=DECODED)
def _decoded(path: Path) -> NDArray[np.uint8]:
    return read_rgb8(path)
