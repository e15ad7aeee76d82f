"""Triplets read back from a made set: split by video, cropped and jittered."""

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
from tfmlc.data.synthesis.manifest import MANIFEST, read_manifest
from tfmlc.errors import UserError
from tfmlc.io.images import read_rgb8, read_size

Alignment = Literal["shared", "independent"]


@dataclass(frozen=True)
class Triplet:
    """One row of a set: files of the sharp image and of its blurs from weakest to strongest.

    ``video`` is the video or photo it is from, ``motion_px`` how far the strongest blur moved.
    """

    files: tuple[Path, ...]
    video: str
    motion_px: float


class Augmentation(Config):
    """Random crop, colour jitter and flips; defaults as the paper's code."""

    crop_px: int = Field(default=224, ge=8, description="side of the random crop")
    brightness: float = Field(default=0.5, ge=0, le=1, description="largest relative change of brightness")
    hue: float = Field(default=0.5, ge=0, le=0.5, description="largest change of hue, in turns")
    flip: float = Field(default=0.85, ge=0, le=1, description="probability of each of the two flips")


class TripletRow(BaseModel):
    """What a manifest says of a triplet, as far as it is used here."""

    name: str
    video: str
    displacement_px: float | None = None
    strength_px: float = 0.0


ROWS, FOLDERS = TypeAdapter(list[TripletRow]), TypeAdapter(list[str])


def find_triplets(folder: Path) -> list[Triplet]:
    """The whole triplets of a set, in order of their names; raises UserError where there is none."""
    settings, rows = read_manifest(folder)
    if settings.get("kind") != "triplets":
        raise UserError(f"{folder} holds {settings.get('kind', 'images of another kind')}, not triplets")
    try:
        folders = FOLDERS.validate_python(settings.get("folders"))
        made = {row.name: row for row in ROWS.validate_python([row for row in rows if row.get("files")])}
    except ValidationError as error:
        raise UserError(f"{folder / MANIFEST} is not a manifest of triplets: make the set again") from error
    if len(folders) < 3:
        raise UserError(f"{folder} has one level of blur: make the set again with two levels or more")
    triplets: list[Triplet] = []
    for name in sorted(made):
        files = tuple(folder / kind / name for kind in folders)
        if all(file.is_file() for file in files):
            row = made[name]
            motion = row.strength_px if row.displacement_px is None else row.displacement_px
            triplets.append(Triplet(files, row.video, motion))
    if not triplets:
        raise UserError(f"{folder} holds no whole triplet: run tfmlc synthesize triplets again")
    return triplets


def split_by_video(triplets: Sequence[Triplet], fraction: float, seed: int = 0) -> tuple[list[Triplet], list[Triplet]]:
    """Training and validation triplets: the latter are of the whole videos whose number is nearest to ``fraction``.

    Which of the sets of videos with that number is taken depends on ``seed``. Raises UserError where all triplets are
    of one video.

    >>> names = [name for name, count in (("a", 70), ("b", 20), ("c", 10)) for _ in range(count)]
    >>> train, held = split_by_video([Triplet((), name, 1.0) for name in names], 0.1)
    >>> len(train), {triplet.video for triplet in held}
    (90, {'c'})
    """
    counts = Counter(triplet.video for triplet in triplets)
    videos = sorted(counts)
    if len(videos) < 2:
        raise UserError(f"all triplets are of {videos[0]}: another video or photo is needed to validate on")
    np.random.default_rng(seed).shuffle(videos)
    held = _nearest(videos, counts, fraction * len(triplets))
    return [t for t in triplets if t.video not in held], [t for t in triplets if t.video in held]


def _nearest(videos: Sequence[str], counts: Mapping[str, int], wanted: float) -> set[str]:
    """Some of the videos, not all, whose counts add up to what is nearest to ``wanted``; the fewer if two are."""
    reachable = {0: -1}  # by sum: the last video of the first way to it, which is made of the videos before
    most = max(2 * wanted, min(counts.values()))  # what is above cannot be nearer
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


def split_by_size(triplets: Sequence[Triplet], least_px: int) -> tuple[list[Triplet], list[Triplet]]:
    """Triplets whose images hold a crop of ``least_px``, and the smaller ones; only the files' heads are read."""
    large = [min(read_size(triplet.files[0])) >= least_px for triplet in triplets]
    parts = ([t for t, fits in zip(triplets, large, strict=True) if fits is side] for side in (True, False))
    kept, small = parts
    return kept, small


def augmented(triplet: Triplet, augmentation: Augmentation, alignment: Alignment, rng: np.random.Generator) -> Tensor:
    """Members of a triplet, ``m 3 h w`` in [0, 1], cropped and jittered: all alike, or each on its own."""
    images = [_holding(file, augmentation.crop_px) for file in triplet.files]
    if alignment == "shared":
        state = rng.bit_generator.state
        members: list[Tensor] = []
        for image in images:
            rng.bit_generator.state = state
            members.append(_augment(image, augmentation, rng))
        return torch.stack(members)
    return torch.stack([_augment(image, augmentation, rng) for image in images])


def centred(triplet: Triplet, crop_px: int) -> Tensor:
    """Members of a triplet, ``m 3 h w`` in [0, 1]: the middle crop, nothing changed."""
    members: list[Tensor] = []
    for file in triplet.files:
        image = _holding(file, crop_px)
        top, left = ((size - crop_px) // 2 for size in image.shape[-2:])
        members.append(image[:, top : top + crop_px, left : left + crop_px])
    return torch.stack(members).float() / 255


def _augment(image: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional

    side = augmentation.crop_px
    top, left = (int(rng.integers(size - side + 1)) for size in image.shape[-2:])
    crop = image[:, top : top + side, left : left + side]
    brightness = rng.uniform(1 - augmentation.brightness, 1 + augmentation.brightness)
    hue = rng.uniform(-augmentation.hue, augmentation.hue)
    jitter: Any = functional
    crop = jitter.adjust_hue(jitter.adjust_brightness(crop, brightness), hue)
    for axis in (1, 2):
        if rng.random() < augmentation.flip:
            crop = crop.flip(axis)
    return crop.float() / 255


def _holding(file: Path, side: int) -> Tensor:
    """An image that holds a crop of ``side``; a smaller one would have to be enlarged, and would not be sharp then."""
    image = _decoded(file)
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise UserError(f"{file} is {width}x{height}, smaller than a crop of {side} px: set augmentation.crop_px")
    return image


@lru_cache(maxsize=96)
def _decoded(path: Path) -> Tensor:
    return torch.tensor(read_rgb8(path)).permute(2, 0, 1)
