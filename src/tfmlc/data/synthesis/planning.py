"""The plan of a set: its folders, and the images to make from photos and videos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfmlc.data.synthesis.manifest import distinct_stems
from tfmlc.errors import UserError
from tfmlc.io.images import find_images, is_image_name
from tfmlc.io.video import is_video_name

Kind = Literal["pairs", "triplets"]


@dataclass(frozen=True)
class SyntheticImage:
    """A blurry version of a photo that is to be made.

    Attributes:
        source: The photo.
        name: The name of the files.
        scene: The name that all versions of the photo share.
        seed: The seed of this version.
    """

    source: Path
    name: str
    scene: str
    seed: tuple[int, int, int]


def folders(kind: Kind, levels: int) -> tuple[str, ...]:
    """Return the names of a set's folders: sharp first, then from the weakest to the strongest blur.

    >>> folders("pairs", 2), folders("triplets", 2), folders("triplets", 3)
    (('sharp', 'blur'), ('sharp', 'weak', 'strong'), ('sharp', 'level1', 'level2', 'level3'))
    """
    if kind == "pairs":
        return ("sharp", "blur")
    return ("sharp", "weak", "strong") if levels == 2 else ("sharp", *(f"level{n}" for n in range(1, levels + 1)))


def plan_synthetic(
    photos: Iterable[Path], per_photo: int, seed: int, *, leave_out: Path | None = None
) -> list[SyntheticImage]:
    """List the images to make from photos. Each photo becomes a scene with files ``SCENE/000001.png`` and so on.

    The seed of an image depends only on ``seed``, the name of the photo and the version, so adding photos does not
    change the others. ``a.jpg`` and ``a.png`` become two scenes.

    Args:
        photos: Photos, and folders of photos.
        per_photo: The number of versions of each photo.
        seed: The seed of the set.
        leave_out: A folder to leave out, such as the output.

    Returns:
        The images to make.

    Raises:
        UserError: If two photos in different folders have the same name.
    """
    sources: dict[Path, Path] = {}
    for source, relative in (pair for path in photos for pair in find_images(path, leave_out=leave_out)):
        if (other := sources.setdefault(relative, source)) != source:
            raise UserError(
                f"{other} and {source} would both become {relative.stem}: rename one, or give the folder above both"
            )
    planned: list[SyntheticImage] = []
    scenes = distinct_stems([Path("-".join(relative.parts)) for relative in sources])
    for source, scene in zip(sources.values(), map(str, scenes), strict=True):
        key = int.from_bytes(hashlib.sha256(os.fsencode(scene)).digest()[:6], "big")
        planned += [
            SyntheticImage(source, f"{scene}/{version + 1:06d}.png", scene, (seed, key, version))
            for version in range(per_photo)
        ]
    return planned


def sort_inputs(inputs: Iterable[Path], images: Literal["photos", "frames"]) -> tuple[list[Path], list[Path]]:
    """Split the inputs into videos and photos. ``images`` says what the images in a folder are."""
    videos: list[Path] = []
    photos: list[Path] = []
    for path in inputs:
        video = is_video_name(path) and path.is_file()
        if images == "frames" or video:
            videos.append(path)
            continue
        holds_videos = path.is_dir() and any(is_video_name(file) for file in path.rglob("*"))
        videos += [path] if holds_videos else []
        if not holds_videos or any(is_image_name(file) for file in path.rglob("*")):
            photos.append(path)
    return videos, photos
