"""Training crops of ready pairs: large images are cut into crops once, and each use takes a random patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tfmlc.data.datasets.pairs import Pair, find_pairs, read_pair
from tfmlc.data.datasets.synthetic import random_turn
from tfmlc.data.synthesis.manifest import MANIFEST, Manifest, distinct_stems, read_manifest
from tfmlc.errors import UserError
from tfmlc.io.files import file_sha256
from tfmlc.io.images import Image, write_image
from tfmlc.io.images.crops import crop_starts
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.locks import folder_lock
from tfmlc.runtime.parallel import worker_pool
from tfmlc.runtime.progress import Progress

GREY = np.array([0.299, 0.587, 0.114], np.float32)


class PairCrops(Dataset[tuple[Tensor, Tensor]]):
    """Random crops of pairs, randomly rotated and mirrored: ``(blurry, sharp)``, RGB in [0, 1].

    Crop number ``index`` depends on ``seed`` and ``index`` alone. Every pass over the pairs has its own order. Reading
    a pair that is smaller than the crop raises UserError.

    Args:
        pairs: The pairs.
        patch_px: The side of the crops.
        length: The number of crops.
        seed: The seed of the random choices.
        saturation: The largest change of the colour saturation. The factor lies between ``1 - saturation`` and
            ``1 + saturation``, and is the same for both images of a pair.
    """

    def __init__(
        self, pairs: Sequence[Pair], *, patch_px: int, length: int, seed: int = 0, saturation: float = 0.0
    ) -> None:
        self.pairs = list(pairs)
        self.patch_px, self.length, self.seed, self.saturation = patch_px, length, seed, saturation
        cv2.setNumThreads(1)  # the loader already runs several processes

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
            raise UserError(
                f"{pair.blurry} is {width}x{height}, smaller than data.patch_px={side}: lower it, or exclude the image"
            )
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        both = np.stack([blurry, sharp])[:, top : top + side, left : left + side]
        both = random_turn(both, rng)
        if self.saturation:
            both = saturated(both, 1 + self.saturation * rng.uniform(-1, 1))
        return to_tensor(both[0]), to_tensor(both[1])


def saturated(images: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Multiply the colour saturation of images ``n h w 3`` by a factor. 0 gives grey images, 1 changes nothing.

    >>> saturated(np.full((1, 1, 1, 3), [200, 100, 0], np.uint8), 0.0).ravel().tolist()
    [118, 118, 118]
    """
    grey = (images @ GREY)[..., None]
    return np.clip(np.rint(grey + (images - grey) * factor), 0, 255).astype(np.uint8)


def prepare_crops(
    pairs: Sequence[Pair], folder: Path, *, crop_px: int, step_px: int, workers: int | None = None
) -> list[Pair]:
    """Cut pairs into overlapping squares and write these as PNG files to ``folder/blur`` and ``folder/sharp``.

    Existing crops are kept, so an interrupted run continues. If another process is writing the folder, this function
    waits until it has finished.

    Args:
        pairs: The pairs.
        folder: The folder for the crops.
        crop_px: The side of the crops.
        step_px: The distance from one crop to the next. The last crop of a row or column ends at the border.
        workers: The number of threads. None takes one per core.

    Returns:
        The crops, as pairs.

    Raises:
        UserError: If an image is smaller than a crop, or the folder contains crops of other pairs or settings.
    """
    settings: dict[str, object] = {
        "crop_px": crop_px,
        "step_px": step_px,
        "pairs": [pair.name for pair in pairs],
    }
    if not (folder / MANIFEST).exists() or "bytes" in read_manifest(folder)[0]:  # earlier versions recorded no sizes
        settings["bytes"] = [[path.stat().st_size for path in (pair.blurry, pair.sharp)] for pair in pairs]
    if not _is_complete(folder, settings):
        with (
            folder_lock(folder, wait=True),
            worker_pool(workers, threads=True) as pool,
            Progress("crops", len(pairs)) as progress,
        ):
            manifest = Manifest(folder, settings, "pair")
            done = {row["pair"] for row in manifest.whole}
            progress.update(len(done))
            cut = partial(_cut, folder=folder, crop_px=crop_px, step_px=step_px)
            names = dict(zip(pairs, distinct_stems([Path(pair.name) for pair in pairs]), strict=True))
            jobs = [pool.submit(cut, pair, names[pair]) for pair in pairs if pair.name not in done]
            for task in as_completed(jobs):
                manifest.add([task.result()])
                progress.advance()
    return find_pairs(folder)


def _is_complete(folder: Path, settings: Mapping[str, object]) -> bool:
    """Whether every crop exists; their content was checked when they were made."""
    if not (folder / MANIFEST).exists():
        return False
    earlier, rows = read_manifest(folder)
    made = earlier == settings and {row.get("pair") for row in rows} == set(earlier["pairs"])
    return made and all("files" in row and all((folder / name).is_file() for name in row["files"]) for row in rows)


def _cut(pair: Pair, name: Path, *, folder: Path, crop_px: int, step_px: int) -> dict[str, object]:
    blurry, sharp = read_pair(pair)
    height, width = map(int, blurry.shape[:2])
    if min(height, width) < crop_px:
        raise UserError(
            f"{pair.blurry} is {width}x{height}, smaller than data.crop_px={crop_px}: lower it, or exclude the image"
        )
    files: dict[str, str] = {}
    for top in crop_starts(height, crop_px, step_px):
        for left in crop_starts(width, crop_px, step_px):
            file = name / f"{top:05d}-{left:05d}.png"
            for side, image in (("blur", blurry), ("sharp", sharp)):
                path = folder / side / file
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(
                    path, Image(np.ascontiguousarray(image[top : top + crop_px, left : left + crop_px])), fast=True
                )
                files[path.relative_to(folder).as_posix()] = file_sha256(path)
    return {"pair": pair.name, "files": files}
