"""Triplets read back from a made set: split by film, cropped and jittered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tfmlc.config import Config
from tfmlc.data.manifest import read_manifest
from tfmlc.errors import UserError
from tfmlc.images import read_rgb8

Alignment = Literal["shared", "independent"]


@dataclass(frozen=True)
class Triplet:
    """One row of a set: files of the sharp picture and of its blurs from weakest to strongest.

    ``clip`` is the film or photo it is from, ``motion_px`` how far the strongest blur moved.
    """

    files: tuple[Path, ...]
    clip: str
    motion_px: float


class Augmentation(Config):
    """Random crop, colour jitter and flips; defaults as the paper's code."""

    crop_px: int = Field(default=224, ge=8)
    brightness: float = Field(default=0.5, ge=0, le=1)
    hue: float = Field(default=0.5, ge=0, le=0.5)
    flip: float = Field(default=0.85, ge=0, le=1, description="probability of each of the two flips")


def find_triplets(folder: Path) -> list[Triplet]:
    """The whole triplets of a set, in order of their names; raises UserError where there is none."""
    settings, rows = read_manifest(folder)
    if settings.get("kind") != "triplets":
        raise UserError(f"{folder} holds {settings.get('kind', 'pictures of another kind')}, not triplets")
    if len(settings["folders"]) < 3:
        raise UserError(f"{folder} has one level of blur: two are needed, --levels 2 or more")
    made = {row["name"]: row for row in rows if row["files"]}
    triplets: list[Triplet] = []
    for name in sorted(made):
        files = tuple(folder / kind / name for kind in settings["folders"])
        if all(file.is_file() for file in files):
            motion = made[name].get("displacement_px", made[name].get("strength_px", 0.0))
            triplets.append(Triplet(files, made[name]["clip"], float(motion)))
    if not triplets:
        raise UserError(f"{folder} holds no whole triplet: run tfmlc synthesize triplets again")
    return triplets


def split_by_clip(triplets: Sequence[Triplet], share: float, seed: int = 0) -> tuple[list[Triplet], list[Triplet]]:
    """Training and validation triplets, about ``share`` of them in the latter; no film is on both sides.

    Raises UserError where all are of one film.
    """
    clips = sorted({triplet.clip for triplet in triplets})
    if len(clips) < 2:
        raise UserError(f"all triplets are of {clips[0]}: another film or photo is needed to validate on")
    np.random.default_rng(seed).shuffle(clips)
    held: set[str] = set()
    for clip in clips[:-1]:
        if sum(triplet.clip in held for triplet in triplets) >= share * len(triplets):
            break
        held.add(clip)
    return [t for t in triplets if t.clip not in held], [t for t in triplets if t.clip in held]


def augmented(triplet: Triplet, augmentation: Augmentation, alignment: Alignment, rng: np.random.Generator) -> Tensor:
    """Members of a triplet, ``m 3 h w`` in [0, 1], cropped and jittered: all alike, or each on its own."""
    pictures = [_decoded(file) for file in triplet.files]
    if alignment == "shared":
        state = rng.bit_generator.state
        members: list[Tensor] = []
        for picture in pictures:
            rng.bit_generator.state = state
            members.append(_augment(picture, augmentation, rng))
        return torch.stack(members)
    return torch.stack([_augment(picture, augmentation, rng) for picture in pictures])


def centred(triplet: Triplet, crop_px: int) -> Tensor:
    """Members of a triplet, ``m 3 h w`` in [0, 1]: the middle crop, nothing changed."""
    members: list[Tensor] = []
    for file in triplet.files:
        picture = _at_least(_decoded(file), crop_px)
        top, left = ((size - crop_px) // 2 for size in picture.shape[-2:])
        members.append(picture[:, top : top + crop_px, left : left + crop_px])
    return torch.stack(members).float() / 255


def _augment(picture: Tensor, augmentation: Augmentation, rng: np.random.Generator) -> Tensor:
    from torchvision.transforms.v2 import functional

    side = augmentation.crop_px
    picture = _at_least(picture, side)
    top, left = (int(rng.integers(size - side + 1)) for size in picture.shape[-2:])
    crop = picture[:, top : top + side, left : left + side]
    brightness = rng.uniform(1 - augmentation.brightness, 1 + augmentation.brightness)
    hue = rng.uniform(-augmentation.hue, augmentation.hue)
    jitter: Any = functional
    crop = jitter.adjust_hue(jitter.adjust_brightness(crop, brightness), hue)
    for axis in (1, 2):
        if rng.random() < augmentation.flip:
            crop = crop.flip(axis)
    return crop.float() / 255


def _at_least(picture: Tensor, side: int) -> Tensor:
    """The picture, enlarged where its shorter side is below ``side``."""
    from torchvision.transforms.v2 import functional

    if min(picture.shape[-2:]) >= side:
        return picture
    factor = side / min(picture.shape[-2:])
    size = [max(side, round(length * factor)) for length in picture.shape[-2:]]
    return functional.resize(picture, size, antialias=True)


@lru_cache(maxsize=96)
def _decoded(path: Path) -> Tensor:
    return torch.tensor(read_rgb8(path)).permute(2, 0, 1)
