"""Triplets of a synthesized set: found, split by video, cropped and augmented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from torch import Tensor

from tfmlc.config import Config
from tfmlc.data.datasets.nuisance import Nuisance, disturbed, strengths_of
from tfmlc.data.synthesis.manifest import MANIFEST, read_manifest
from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8

Alignment = Literal["shared", "independent", "nuisance"]


@dataclass(frozen=True)
class Triplet:
    """A sharp image and its blurred versions.

    Attributes:
        files: The files, the sharp image first, then from the weakest to the strongest blur.
        video: The video or photo it was made from.
        motion_px: The motion of the strongest blur, in px.
    """

    files: tuple[Path, ...]
    video: str
    motion_px: float


class Augmentation(Config):
    """Random crops, colour jitter and flips. The defaults are those of the paper's code."""

    crop_px: int = Field(default=224, ge=8, description="side of the random crop")
    brightness: float = Field(default=0.5, ge=0, le=1, description="largest relative change of brightness")
    hue: float = Field(default=0.5, ge=0, le=0.5, description="largest change of hue, in turns")
    flip: float = Field(default=0.85, ge=0, le=1, description="probability of each of the two flips")
    nuisance: Nuisance = Nuisance()


class TripletRow(BaseModel):
    """The part of a triplet's manifest row that is used here."""

    name: str
    video: str
    displacement_px: float | None = None
    strength_px: float = 0.0


ROWS, FOLDERS = TypeAdapter(list[TripletRow]), TypeAdapter(list[str])


def find_triplets(folder: Path) -> list[Triplet]:
    """Return the complete triplets of a set, sorted by name.

    Args:
        folder: The folder of the set, made by ``tfmlc synthesize triplets``.

    Returns:
        The triplets.

    Raises:
        UserError: If the folder is not a set of triplets, or no triplet is complete.
    """
    settings, rows = read_manifest(folder)
    if settings.get("kind") != "triplets":
        held = settings.get("kind", "images of another kind")
        raise UserError(f"{folder} contains {held}, not triplets: make some with tfmlc synthesize triplets")
    try:
        folders = FOLDERS.validate_python(settings.get("folders"))
        made = {row.name: row for row in ROWS.validate_python([row for row in rows if row.get("files")])}
    except ValidationError as error:
        raise UserError(f"{folder / MANIFEST} is not a manifest of triplets: make the set again") from error
    if len(folders) < 3:
        raise UserError(f"{folder} has only one level of blur: make the set again with at least two levels")
    triplets: list[Triplet] = []
    for name in sorted(made):
        files = tuple(folder / kind / name for kind in folders)
        if all(file.is_file() for file in files):
            row = made[name]
            motion = row.strength_px if row.displacement_px is None else row.displacement_px
            triplets.append(Triplet(files, row.video, motion))
    if not triplets:
        raise UserError(f"{folder} contains no complete triplet: run tfmlc synthesize triplets again")
    return triplets


def split_by_video(triplets: Sequence[Triplet], fraction: float, seed: int = 0) -> tuple[list[Triplet], list[Triplet]]:
    """Split triplets into training and validation triplets. All triplets of a video go to the same side.

    Args:
        triplets: The triplets.
        fraction: The fraction of validation triplets. It is reached as nearly as whole videos allow.
        seed: Chooses between sets of videos that reach the fraction equally well.

    Returns:
        The training triplets and the validation triplets.

    Raises:
        UserError: If all triplets are of one video.

    Example:
        >>> names = [name for name, count in (("a", 70), ("b", 20), ("c", 10)) for _ in range(count)]
        >>> train, held = split_by_video([Triplet((), name, 1.0) for name in names], 0.1)
        >>> len(train), {triplet.video for triplet in held}
        (90, {'c'})
    """
    counts = Counter(triplet.video for triplet in triplets)
    videos = sorted(counts)
    if len(videos) < 2:
        raise UserError(f"all triplets are of {videos[0]}: add triplets of another video or photo, for validation")
    np.random.default_rng(seed).shuffle(videos)
    held = _nearest(videos, counts, fraction * len(triplets))
    return [t for t in triplets if t.video not in held], [t for t in triplets if t.video in held]


def _nearest(videos: Sequence[str], counts: Mapping[str, int], wanted: float) -> set[str]:
    """Choose some of the videos, but not all, so that the sum of their counts is as near to ``wanted`` as possible.

    If two sums are equally near, the smaller one is taken.
    """
    reachable = {0: -1}  # for each sum: the last video of the first selection that reaches it
    most = max(2 * wanted, min(counts.values()))  # larger sums cannot be nearer
    for place, video in enumerate(videos):
        for total in [total for total in reachable if total + counts[video] <= most]:
            reachable.setdefault(total + counts[video], place)
    whole = sum(counts.values())
    best = min((total for total in reachable if 0 < total < whole), key=lambda total: (abs(total - wanted), total))
    held: set[str] = set()
    while best:
        video = videos[reachable[best]]
        held.add(video)
        best -= counts[video]
    return held


def augmented(
    images: Sequence[Tensor], augmentation: Augmentation, alignment: Alignment, rng: np.random.Generator
) -> Tensor:
    """Crop the images of a triplet at random and change their colours at random.

    Args:
        images: The images, uint8 ``3 h w``, the sharp image first, then from the weakest to the strongest blur.
        augmentation: The settings of the crop and the changes.
        alignment: ``"shared"`` treats all images in the same way, ``"independent"`` each differently. ``"nuisance"``
            treats them in the same way and then gives each a small shift, noise, JPEG, exposure and colours of its own.
        rng: The source of randomness.

    Returns:
        The images ``m 3 crop_px crop_px`` in [0, 1].
    """
    if alignment == "independent":
        return torch.stack([_augment(image, augmentation, rng) for image in images])
    state = rng.bit_generator.state
    own = np.random.default_rng(rng.integers(2**63))
    nuisance, members = augmentation.nuisance, list[Tensor]()
    strengths = strengths_of(len(images), nuisance, own) if alignment == "nuisance" else [0.0] * len(images)
    for image, strength in zip(images, strengths, strict=True):
        rng.bit_generator.state = state
        shift = own.integers(-nuisance.shift_px, nuisance.shift_px + 1, 2) if strength else (0, 0)
        member = _augment(image, augmentation, rng, (int(shift[0]), int(shift[1])))
        members.append(disturbed(member, strength, nuisance, own))
    return torch.stack(members)


def centred(triplet: Triplet, crop_px: int) -> Tensor:
    """Read the central crops of a triplet's images: ``m 3 crop_px crop_px`` in [0, 1]."""
    members: list[Tensor] = []
    for image in read_triplet(triplet, crop_px):
        top, left = ((size - crop_px) // 2 for size in image.shape[-2:])
        members.append(image[:, top : top + crop_px, left : left + crop_px])
    return torch.stack(members).float() / 255


def _augment(
    image: Tensor, augmentation: Augmentation, rng: np.random.Generator, shift: tuple[int, int] = (0, 0)
) -> Tensor:
    from torchvision.transforms.v2 import functional

    side = augmentation.crop_px
    corner = [
        min(max(int(rng.integers(size - side + 1)) + moved, 0), size - side)
        for size, moved in zip(image.shape[-2:], shift, strict=True)
    ]
    crop = image[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    brightness = rng.uniform(1 - augmentation.brightness, 1 + augmentation.brightness)
    hue = rng.uniform(-augmentation.hue, augmentation.hue)
    jitter: Any = functional
    crop = jitter.adjust_hue(jitter.adjust_brightness(crop, brightness), hue)
    for axis in (1, 2):
        if rng.random() < augmentation.flip:
            crop = crop.flip(axis)
    return crop.float() / 255


def read_triplet(triplet: Triplet, crop_px: int) -> list[Tensor]:
    """Read the images of a triplet, uint8 ``3 h w``; raises UserError if one is smaller than a crop."""
    return [_holding(file, crop_px) for file in triplet.files]


def _holding(file: Path, side: int) -> Tensor:
    """Read an image; raises UserError if it is smaller than the crop, because an enlarged image is not sharp."""
    image = _decoded(file)
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise UserError(f"{file} is {width}x{height}, smaller than a crop of {side} px: lower augmentation.crop_px")
    return image


@lru_cache(maxsize=96)
def _decoded(path: Path) -> Tensor:
    return torch.tensor(read_rgb8(path)).permute(2, 0, 1)
