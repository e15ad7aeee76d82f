"""Folders of blurry and sharp images, in the layouts of the public datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.datasets.choice import evenly
from tfmlc.errors import UserError, different_sizes
from tfmlc.io.files import read_utf8
from tfmlc.io.images import find_images, read_rgb8, read_size

Split = Literal["train", "test"]
BlurKind = Literal["blur", "blur_gamma"]
PARTS: tuple[Split, ...] = ("train", "test")
LOOKED_AT = 8  # pairs whose pixels are read to find out whether blurry and sharp images are swapped


@dataclass(frozen=True)
class Pair:
    """A blurry image and its sharp partner."""

    name: str
    blurry: Path
    sharp: Path


@dataclass(frozen=True)
class Layout:
    """The layout of a dataset on disk.

    Attributes:
        looks_like: Whether a folder has this layout.
        pairs: Returns the pairs of a folder.
        counts: The number of pairs in each part of the dataset.
    """

    looks_like: Callable[[Path], bool]
    pairs: Callable[[Path, Split, BlurKind], list[Pair]]
    counts: dict[Split, int]


def find_pairs(folder: Path, *, split: Split = "test", blur: BlurKind = "blur") -> list[Pair]:
    """Return the pairs of a dataset, in natural order.

    Args:
        folder: A folder with ``blur/`` and ``sharp/``, which contain the same names, or with these in ``train/`` and
            ``test/``; GOPRO_Large, HIDE or RealBlur as they are distributed; or one of RealBlur's lists.
        split: The part of the dataset, if the folder contains both.
        blur: Only for GoPro: ``"blur"`` is the average of stored values, ``"blur_gamma"`` that of linear light.

    Returns:
        The pairs.

    Raises:
        UserError: If the folder has another layout, or an image has no partner.
    """
    return LAYOUTS[layout_of(folder)].pairs(folder, split, blur)


def chosen_pairs(pairs: Sequence[Pair], only: Sequence[str], exclude: Sequence[str] = ()) -> list[Pair]:
    """Return the pairs that ``is_chosen`` by their names."""
    return [pair for pair in pairs if is_chosen(pair.name, only, exclude)]


def is_chosen(name: str, only: Sequence[str], exclude: Sequence[str] = ()) -> bool:
    """Whether a name matches a pattern of ``only`` and no pattern of ``exclude``. An empty ``only`` matches every name.

    >>> is_chosen("REDS_001-3.avif", [], ["REDS_001*"]), is_chosen("a.png", ["*.png"])
    (False, True)
    """
    taken = not only or any(fnmatchcase(name, pattern) for pattern in only)
    return taken and not any(fnmatchcase(name, pattern) for pattern in exclude)


def layout_of(folder: Path) -> str:
    """Return the name of a folder's layout, a key of ``LAYOUTS``; raises UserError if it is not known."""
    if not folder.exists():
        raise UserError(f"there is no folder {folder}: check the path")
    for name, layout in LAYOUTS.items():
        if layout.looks_like(folder):
            return name
    if any((folder / part).is_dir() for part in PARTS) or any(folder.glob("GOPR*")):
        raise UserError(
            f"{folder} contains frames but no pairs (is it GOPRO_Large_all?): "
            "make pairs with tfmlc synthesize pairs, or download GOPRO_Large"
        )
    missing = "blur" if not (folder / "blur").is_dir() else "sharp"
    raise UserError(
        f"{folder} has no folder {missing}: put the images into {folder}/blur and {folder}/sharp, "
        f"or use the layout of {', '.join(list(LAYOUTS)[1:])}"
    )


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Check that the images of each pair have the same size, and that blurry and sharp are not swapped.

    Args:
        pairs: The pairs.

    Raises:
        UserError: If two sizes differ, or the sharp image is the blurrier one in most of the pairs that are examined.
    """
    for pair in pairs:
        sizes = read_size(pair.blurry), read_size(pair.sharp)
        if sizes[0] != sizes[1]:
            raise different_sizes(pair.blurry, sizes[0][::-1], pair.sharp, sizes[1][::-1])
    some = evenly(pairs, LOOKED_AT)
    swapped = [pair for pair in some if detail(read_rgb8(pair.blurry)) > detail(read_rgb8(pair.sharp))]
    if 2 * len(swapped) > len(some):
        raise UserError(
            f"the folders of blurry and sharp images seem to be swapped: {swapped[0].sharp} is blurrier than "
            f"{swapped[0].blurry} (the same is true of {len(swapped)} of {len(some)} examined pairs)"
        )


def check_stems(pairs: Sequence[Pair]) -> None:
    """Raise UserError if a pair is listed twice, or the names of two pairs differ only in the suffix."""
    taken: dict[str, Pair] = {}
    for pair in pairs:
        if (other := taken.setdefault(str(Path(pair.name).with_suffix("")), pair)) is not pair:
            if other.blurry == pair.blurry:
                raise UserError(f"{pair.blurry} is listed twice")
            raise UserError(
                f"{other.blurry} and {pair.blurry} would both be called {Path(pair.name).with_suffix('')}: "
                "rename one, or move the stale one away"
            )


def count_remark(folder: Path, split: Split, pairs: Sequence[Pair]) -> str | None:
    """Return a remark if a public dataset does not have its usual number of pairs, else None."""
    layout = layout_of(folder)
    expected = LAYOUTS[layout].counts.get(split)
    if expected is None or expected == len(pairs):
        return None
    return f"{folder} contains {len(pairs)} pairs, but the {split} part of {layout} has {expected}"


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read both images of a pair as RGB uint8 ``h w 3``: blurry and sharp. Raises UserError if their sizes differ."""
    blurry, sharp = read_rgb8(pair.blurry), read_rgb8(pair.sharp)
    if blurry.shape != sharp.shape:
        raise different_sizes(pair.blurry, blurry.shape, pair.sharp, sharp.shape)
    return blurry, sharp


def detail(image: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of neighbouring pixels, in stored values. Blurry images have less.

    >>> detail(np.array([[0, 10], [0, 10]], np.uint8))
    10.0
    """
    values = image.astype(np.int16)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


def _partners(blurry: dict[str, Path], sharp: dict[str, Path], folders: tuple[Path, Path]) -> list[Pair]:
    """Return the pairs of images with the same name; raises UserError if an image has no partner."""
    for here, there, folder in ((blurry, sharp, folders[1]), (sharp, blurry, folders[0])):
        if alone := [name for name in here if name not in there]:
            raise UserError(f"{here[alone[0]]} has no partner {folder / alone[0]} ({len(alone)} without a partner)")
    return [Pair(name, path, sharp[name]) for name, path in blurry.items()]


def _named(folder: Path) -> dict[str, Path]:
    return {name.as_posix(): path for path, name in find_images(folder)}  # the same names on every system


def _has_sides(folder: Path) -> bool:
    return all((folder / side).is_dir() for side in ("blur", "sharp"))


def _is_plain(folder: Path) -> bool:
    return any(_has_sides(place) for place in (folder, *(folder / part for part in PARTS)))


def _plain(folder: Path, split: Split, blur: BlurKind) -> list[Pair]:
    inside = folder if _has_sides(folder) else folder / split
    if inside != folder and (scenes := _scenes(folder)):
        raise UserError(
            f"{folder} has scenes ({scenes[0].name}) beside train or test with images: move one of them away"
        )
    if not _has_sides(inside):
        raise UserError(f"{inside} has no folders blur and sharp: add the {split} part, or give the folder of one part")
    sides = inside / blur if (inside / blur).is_dir() else inside / "blur", inside / "sharp"
    return _partners(_named(sides[0]), _named(sides[1]), sides)


def _scenes(folder: Path) -> list[Path]:
    sides = sorted(folder.glob("*/sharp"))
    return [side.parent for side in sides if side.is_dir() and side.parent.name not in PARTS]


def _is_gopro(folder: Path) -> bool:
    return any(_scenes(place) for place in (folder, *(folder / part for part in PARTS)))


def _gopro(folder: Path, split: Split, blur: BlurKind) -> list[Pair]:
    inside = folder if _scenes(folder) else folder / split
    scenes = _scenes(inside)
    if not scenes:
        raise UserError(f"{inside} has no scenes with a folder sharp: give a folder that has them")
    pairs: list[Pair] = []
    for scene in scenes:
        if not (scene / blur).is_dir():
            there = [kind for kind in ("blur", "blur_gamma") if (scene / kind).is_dir()]
            hint = "in training data.blur_kind or validation.blur_kind"
            other = f", but {there[0]}: choose the blur kind {there[0]} ({hint})" if there else ""
            raise UserError(f"{scene} has no folder {blur}{other}")
        sides = scene / blur, scene / "sharp"
        found = _partners(_named(sides[0]), _named(sides[1]), sides)
        pairs += [Pair(f"{scene.name}/{pair.name}", pair.blurry, pair.sharp) for pair in found]
    return pairs


def _lists(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"RealBlur_[JR]_{split}_list.txt"))


def _is_realblur(folder: Path) -> bool:
    return (folder.name.startswith("RealBlur") and folder.suffix == ".txt") or bool(_lists(folder, "*"))


def _realblur(folder: Path, split: Split, blur: BlurKind) -> list[Pair]:  # noqa: ARG001
    lists = _lists(folder, split) if folder.is_dir() else [folder]
    if len(lists) != 1:
        named = " or ".join(map(str, lists)) or f"RealBlur_J_{split}_list.txt"
        raise UserError(f"{folder} contains {len(lists)} lists of the {split} part: give one list, {named}")
    pairs: list[Pair] = []
    for number, line in enumerate(read_utf8(lists[0]).splitlines(), 1):
        if not line.strip():
            continue
        paths = [lists[0].parent / name for name in line.split()[:2]]
        if len(paths) < 2:
            raise UserError(f"{lists[0]}, line {number}, must have the paths of a sharp and a blurry image")
        for path, partner in zip(paths, paths[::-1], strict=True):
            if not path.is_file():
                raise UserError(f"{partner} has no partner {path} ({lists[0].name}, line {number})")
        pairs.append(Pair(f"{paths[1].parent.parent.name}/{paths[1].name}", paths[1], paths[0]))
    if not pairs:
        raise UserError(f"{lists[0]} lists no pairs: give another list")
    return pairs


def _hide(folder: Path, split: Split, blur: BlurKind) -> list[Pair]:  # noqa: ARG001
    sharp = _named(folder / "GT")
    if not (folder / split).is_dir():
        raise UserError(f"{folder} has no folder {split}: a folder of HIDE has GT, train and test")
    blurry = _named(folder / split)
    partners = {name: Path(name).name for name in blurry}
    if alone := [name for name, partner in partners.items() if partner not in sharp]:
        lacking = folder / "GT" / partners[alone[0]]
        raise UserError(f"{blurry[alone[0]]} has no partner {lacking} ({len(alone)} without a partner)")
    return [Pair(name, path, sharp[partners[name]]) for name, path in blurry.items()]


LAYOUTS: dict[str, Layout] = {
    "blur and sharp": Layout(_is_plain, _plain, {}),
    "GoPro": Layout(_is_gopro, _gopro, {"train": 2103, "test": 1111}),
    "RealBlur": Layout(_is_realblur, _realblur, {"train": 3758, "test": 980}),
    "HIDE": Layout(lambda folder: (folder / "GT").is_dir(), _hide, {"train": 6397, "test": 2025}),
}
