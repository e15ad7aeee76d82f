"""The public datasets of the paper: where to get them, how they are laid out, and whether a copy is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfmlc.data.datasets.pairs import LAYOUTS, Split, check_pairs, find_pairs
from tfmlc.errors import UserError, unknown_name
from tfmlc.io.files import file_sha256
from tfmlc.io.images import FORMATS

SPLITS: tuple[Split, ...] = ("train", "test")
HUB = "https://huggingface.co/datasets/snah/GOPRO_Large/resolve/main"


def _named(numbers: str) -> list[str]:
    return [f"GOPR{number}" for number in numbers.split()]


GOPRO_SCENES: dict[Split, list[str]] = {
    "train": _named(
        "0372_07_00 0372_07_01 0374_11_00 0374_11_01 0374_11_02 0374_11_03 0378_13_00 0379_11_00 0380_11_00 0384_11_01 "
        "0384_11_02 0384_11_03 0384_11_04 0385_11_00 0386_11_00 0477_11_00 0857_11_00 0868_11_01 0868_11_02 0871_11_01 "
        "0881_11_00 0884_11_00"
    ),
    "test": _named(
        "0384_11_00 0384_11_05 0385_11_01 0396_11_00 0410_11_00 0854_11_00 0862_11_00 0868_11_00 0869_11_00 0871_11_00 "
        "0881_11_01"
    ),
}
LEAST_FRAMES = 15  # of a blur window, so of a video that gives a triplet


@dataclass(frozen=True)
class PublicSet:
    """A public dataset.

    Attributes:
        title: Its name, the publication, and what it is for.
        page: The page of its authors.
        address: Where the file is; empty if the page names it.
        file: The name of the file.
        sha256: The checksum of the file, as its users have recorded it; empty if none is known.
        layout: The folders, one a line.
        parts: Gives the parts of a copy; each can be checked alone.
    """

    title: str
    page: str
    address: str
    file: str
    sha256: str
    layout: tuple[str, ...]
    parts: Callable[[Path], Iterator[Part]]

    def explain(self) -> str:
        """Return the address, the checksum and the layout, for a person."""
        file = f"file: {self.file}" + (f" from {self.address}" if self.address else ", from that page")
        checksum = f"sha256: {self.sha256}" if self.sha256 else "sha256: not known"
        return "\n".join([self.title, f"page: {self.page}", file, checksum, "layout:", *self.layout])


@dataclass(frozen=True)
class Part:
    """A part of a copy of a dataset.

    Attributes:
        name: Its name.
        count: Counts what is there; raises UserError if it is damaged.
        expected: The number that a complete copy has.
        lacks: What is missing if there is less, and how to fix it.
    """

    name: str
    count: Callable[[], int]
    expected: int
    lacks: str


def public_set(name: str) -> PublicSet:
    """Return a public dataset by its name; raises UserError if there is none of that name."""
    if name not in PUBLIC_SETS:
        raise unknown_name("dataset", name, PUBLIC_SETS)
    return PUBLIC_SETS[name]


def check_public(name: str, place: Path) -> tuple[list[str], list[str]]:
    """Check whether a copy of a public dataset is complete.

    Args:
        name: A name in ``PUBLIC_SETS``.
        place: The folder, or the file as it was downloaded.

    Returns:
        What is there and what is missing, one line for each part.

    Raises:
        UserError: If the name is unknown, or there is no such file or folder.
    """
    known = public_set(name)
    if not place.exists():
        raise UserError(f"there is no {place}: get {known.file} from {known.page} and unpack it there")
    if place.is_file():
        return _check_file(known, place)
    there, missing = list[str](), list[str]()
    for part in known.parts(place):
        try:
            count = part.count()
        except UserError as error:
            missing.append(f"{part.name}: {error}")
            continue
        if count == part.expected:
            there.append(f"{part.name}: {count}, complete")
        elif count < part.expected:
            missing.append(f"{part.name}: {count} of {part.expected}; {part.lacks}; unpack {known.file} again")
        else:
            missing.append(f"{part.name}: {count}, more than the {part.expected} of {known.file}: move the others away")
    return there, missing


def _check_file(known: PublicSet, file: Path) -> tuple[list[str], list[str]]:
    if not known.sha256:
        return [], [f"{file}: no sha256 of {known.file} is known; unpack it and check the folder"]
    found = file_sha256(file)
    if found == known.sha256:
        return [f"{file}: the sha256 is right; unpack it"], []
    return [], [f"{file} has the sha256 {found}, not {known.sha256}: download {known.file} again"]


def _pairs_in(place: Path, split: Split) -> int:
    try:
        pairs = find_pairs(place, split=split)
        check_pairs(pairs)
    except UserError as error:
        raise UserError(f"{error}; unpack the download again") from error
    return len(pairs)


def _gopro(folder: Path) -> Iterator[Part]:
    for split in SPLITS:
        lost = [scene for scene in GOPRO_SCENES[split] if not (folder / split / scene / "sharp").is_dir()]
        lacks = f"{folder / split} lacks {', '.join(lost)}" if lost else "some scenes of it have too few images"
        expected = LAYOUTS["GoPro"].counts[split]
        yield Part(f"{split} pairs", lambda split=split: _count_gopro(folder, split), expected, lacks)


def _count_gopro(folder: Path, split: Split) -> int:
    if not (folder / split).is_dir():
        raise UserError(f"{folder} has no folder {split}: give the folder that has train and test")
    return _pairs_in(folder, split)


def _videos(folder: Path) -> Iterator[Part]:
    scenes = GOPRO_SCENES["train"]
    whole = [scene for scene in scenes if _frames(folder / "train" / scene) >= LEAST_FRAMES]
    lost = ", ".join(scene for scene in scenes if scene not in whole)
    yield Part("train videos", lambda: len(whole), len(scenes), f"{folder / 'train'} lacks the frames of {lost}")


def _frames(folder: Path) -> int:
    return sum(file.suffix.lower() in FORMATS for file in folder.iterdir()) if folder.is_dir() else 0


def _realblur(folder: Path) -> Iterator[Part]:
    for kind in "JR":
        for split in SPLITS:
            file = folder / f"RealBlur_{kind}_{split}_list.txt"
            expected = LAYOUTS["RealBlur"].counts[split]
            lacks = f"{file} lists fewer pairs"
            yield Part(
                f"RealBlur-{kind} {split} pairs",
                lambda file=file, split=split: _count_listed(file, split),
                expected,
                lacks,
            )


def _count_listed(file: Path, split: Split) -> int:
    if not file.is_file():
        raise UserError(f"{file} is missing: it lies beside the folders of images in the download")
    return _pairs_in(file, split)


PUBLIC_SETS: dict[str, PublicSet] = {
    "gopro": PublicSet(
        "GoPro, pairs (Nah et al., CVPR 2017): training, and scores of all tables",
        "https://seungjunnah.github.io/Datasets/gopro",
        f"{HUB}/GOPRO_Large.zip",
        "GOPRO_Large.zip",
        "24532c036712515cf33803704421311c91f6a080e76049d7e5e7fd22389f128e",
        (
            "  GOPRO_Large/train/GOPR0372_07_00/{blur,blur_gamma,sharp}/000047.png   22 scenes, 2103 pairs",
            "  GOPRO_Large/test/GOPR0384_11_00/{blur,blur_gamma,sharp}/000001.png    11 scenes, 1111 pairs",
        ),
        _gopro,
    ),
    "gopro-videos": PublicSet(
        "GoPro, all frames at 240 fps (Nah et al., CVPR 2017): triplets for the adapters of TFMLC",
        "https://seungjunnah.github.io/Datasets/gopro",
        f"{HUB}/GOPRO_Large_all.zip",
        "GOPRO_Large_all.zip",
        "",
        ("  GOPRO_Large_all/train/GOPR0372_07_00/000047.png   22 videos",),
        _videos,
    ),
    "realblur": PublicSet(
        "RealBlur-J and RealBlur-R (Rim et al., ECCV 2020): scores of table 1",
        "http://cg.postech.ac.kr/research/RealBlur",
        "",
        "RealBlur.tar.gz",
        "",
        (
            "  RealBlur/RealBlur_J_test_list.txt, RealBlur_J_train_list.txt                       980 and 3758 pairs",
            "  RealBlur/RealBlur_R_test_list.txt, RealBlur_R_train_list.txt                       980 and 3758 pairs",
            "  RealBlur/RealBlur-J_ECC_IMCORR_centroid_itensity_ref/scene001/{gt/gt_1,blur/blur_1}.png",
            "  RealBlur/RealBlur-R_BM3D_ECC_IMCORR_centroid_itensity_ref/scene001/{gt/gt_1,blur/blur_1}.png",
        ),
        _realblur,
    ),
}

__all__ = ["PUBLIC_SETS", "PublicSet", "check_public", "public_set"]
