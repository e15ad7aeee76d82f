"""The triplets of an adaptation, split into those to train on and those to validate on."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfmlc.data.datasets.choice import split_by_size
from tfmlc.data.datasets.triplet_sources import JoinedTriplets, StoredTriplets, SyntheticTriplets, TripletSource
from tfmlc.data.datasets.triplets import Triplet, find_triplets, split_by_video
from tfmlc.data.synthesis.manifest import MANIFEST
from tfmlc.errors import UserError
from tfmlc.io.files import file_sha256
from tfmlc.io.images import find_images
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt_config import AdaptConfig


@dataclass(frozen=True)
class AdaptData:
    """The triplets of an adaptation.

    Attributes:
        training: The triplets to train on.
        validation: The triplets to validate on.
        held_out: The videos and photos of the validation triplets.
        too_small: The number of triplets and photos that are smaller than a crop.
    """

    training: TripletSource
    validation: TripletSource
    held_out: list[str]
    too_small: int

    def counts(self) -> dict[str, float]:
        """Return the numbers of triplets for the report."""
        training, validation = len(self.training.names), len(self.validation.names)
        return {
            "training": training,
            "validation": validation,
            "validation_fraction": round(validation / (training + validation), 4),
            "too_small": self.too_small,
        }


def load_data(folder: Path, config: AdaptConfig) -> AdaptData:
    """Find the triplets of an adaptation and hold out some of the videos and photos.

    Args:
        folder: A set of triplets, or a folder of sharp photos that are blurred on the fly.
        config: The settings, which may name more photos.

    Returns:
        The triplets.

    Raises:
        UserError: If there are no triplets, all are too small, or there is only one video or photo.
    """
    photos, parts = _photos(folder, config), list[AdaptData]()
    if _is_set(folder, photos):
        triplets = find_triplets(folder)
        stored = len(triplets[0].files) - 1
        if photos and stored != config.levels:
            raise UserError(f"{folder} has {stored} levels of blur, photos get {config.levels}: set levels={stored}")
        parts.append(_stored(triplets, config))
    if photos:
        parts.append(_synthetic(photos, config))
    return AdaptData(
        JoinedTriplets([part.training for part in parts]),
        JoinedTriplets([part.validation for part in parts]),
        [name for part in parts for name in part.held_out],
        sum(part.too_small for part in parts),
    )


def fingerprint_of_data(folder: Path, config: AdaptConfig) -> str:
    """Return what identifies the triplets: the sha256 of the set's manifest, or of the photos' names and sizes."""
    photos = _photos(folder, config)
    stored = file_sha256(folder / MANIFEST) if _is_set(folder, photos) else ""
    if not photos:
        return stored
    listing = [stored, *([photo.name, photo.stat().st_size] for photo in photos)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _photos(folder: Path, config: AdaptConfig) -> list[Path]:
    photos = [photo for path in config.photos for photo, _ in find_images(path)]
    if not (folder / MANIFEST).exists():
        with suppress(UserError):  # a folder without photos is refused as a set
            return [photo for photo, _ in find_images(folder)] + photos
    return photos


def _is_set(folder: Path, photos: list[Path]) -> bool:
    """Whether the folder is a set; a folder that is neither a set nor has photos is refused as a set."""
    return (folder / MANIFEST).exists() or not photos


def _stored(triplets: list[Triplet], config: AdaptConfig) -> AdaptData:
    crop_px = config.augmentation.crop_px
    kept, small = split_by_size(triplets, crop_px, lambda triplet: triplet.files[0])
    if small and not kept:
        raise UserError(f"all {len(small)} triplets are smaller than augmentation.crop_px={crop_px}: lower it")
    if small:
        Progress("triplets").say(
            f"{len(small)} of {len(triplets)} triplets are smaller than augmentation.crop_px={crop_px} and are left "
            f"out ({', '.join(sorted({triplet.video for triplet in small})[:3])}, ...)"
        )
    training, held = split_by_video(kept, config.held_out_fraction, config.seed)
    videos = sorted({triplet.video for triplet in held})
    sources = [StoredTriplets(part, config.augmentation) for part in (training, held)]
    return AdaptData(sources[0], sources[1], videos, len(small))


def _synthetic(photos: list[Path], config: AdaptConfig) -> AdaptData:
    if len(photos) < 2:
        raise UserError(f"{photos[0]} is the only photo: add others, because some are held out for validation")
    order = np.random.default_rng(config.seed).permutation(len(photos))
    number = min(max(1, round(config.held_out_fraction * len(photos))), len(photos) - 1)
    held, training = ([photos[int(place)] for place in part] for part in (order[:number], order[number:]))
    least = max(number, round(config.held_out_fraction * config.count))
    sources = [
        SyntheticTriplets(part, count, config.augmentation, blur=config.blur, levels=config.levels)
        for part, count in ((training, config.count), (held, least))
    ]
    too_small = sum(len(source.crops.too_small) for source in sources)
    return AdaptData(sources[0], sources[1], sorted(photo.name for photo in held), too_small)
