"""How well the blurriness tells sharp images from blurred ones, and where it finds motion that is known.

tfmlc synthesize pairs ../shared/data/sharp_eval/kodak24 -o sets/kodak24      the same for gopro
python benchmarks/blurriness.py ../shared/data sets/
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.deblur import blurriness
from tfmlc.deblur.blur_meter import CELL_PX
from tfmlc.deblur.limits import BLURRY_PX
from tfmlc.io.images import find_images, read_rgb8
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

OUTPUT = Path(__file__).parent.parent / "results" / "blurriness.json"
LENGTHS_PX = (4, 8, 12, 16, 24)
MIDDLE_PX, MARGIN_PX = 512, 32
MOVED_PX = (10, 24)  # the motion of a region, which is a box of a third to half of each side
Pixels = NDArray[np.uint8]


def area_under_roc(sharp: list[float], blurred: list[float]) -> float:
    """The probability that a blurred image has a higher score than a sharp one."""
    higher = np.subtract.outer(blurred, sharp)
    return float(np.mean((higher > 0) + 0.5 * (higher == 0)))


def middle(path: Path, *, halved: bool = False) -> Pixels:
    image = read_rgb8(path)
    if halved:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    top, left = (max(0, side - MIDDLE_PX) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + MIDDLE_PX, left : left + MIDDLE_PX])


def moved(image: Pixels, length_px: float, rng: np.random.Generator) -> Pixels:
    config = BlurConfig(strength_px=(max(length_px, 0.01),) * 2, moving_patches=(0, 0))
    return blur_image(image, config, rng, margin_px=MARGIN_PX)[0]


def seeded(files: list[Path], progress: Progress, *, halved: bool = False) -> dict[str, Any]:
    """Scores of the middles of sharp images, of half their size on demand, and of seeded motion of them."""
    scores: dict[int, list[float]] = {length: [] for length in (0, *LENGTHS_PX)}
    for number, path in enumerate(files):
        image = middle(path, halved=halved)
        for length, found in scores.items():
            found.append(blurriness(moved(image, length, np.random.default_rng((number, length)))).score_px)
        progress.advance()
    some = [score for length in LENGTHS_PX for score in scores[length]]
    rows = [{"motion_px": length, "median": median(found)} | told(scores[0], found) for length, found in scores.items()]
    return {"images": len(files), **told(scores[0], some), "rows": rows}


def told(sharp: list[float], blurred: list[float]) -> dict[str, float]:
    return {
        "auc": round(area_under_roc(sharp, blurred), 4),
        "sharp_called_blurred": round(float(np.mean(np.array(sharp) >= BLURRY_PX)), 3),
        "blurred_called_sharp": round(float(np.mean(np.array(blurred) < BLURRY_PX)), 3),
    }


def median(values: list[float]) -> float:
    return round(float(np.median(values)), 2)


def pairs(folder: Path, progress: Progress) -> dict[str, Any]:
    scores: dict[str, list[float]] = {"blur": [], "sharp": []}
    for pair in find_pairs(folder):
        for side, image in zip(scores, read_pair(pair), strict=True):
            scores[side].append(blurriness(image).score_px)
    progress.advance()
    medians = {f"median_{side}": median(found) for side, found in scores.items()}
    return {"images": len(scores["sharp"]), **told(scores["sharp"], scores["blur"]), **medians}


def regions(files: list[Path], progress: Progress) -> dict[str, Any]:
    """A box of each image moves; intersection over union of the box and the cells with more than the limit."""
    overlaps: list[float] = []
    areas: list[float] = []
    for number, path in enumerate(files):
        rng = np.random.default_rng(number)
        image = middle(path)
        blurry = moved(image, float(rng.uniform(*MOVED_PX)), rng)
        still = np.ascontiguousarray(image[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])
        size = np.array(still.shape[:2]) // CELL_PX
        tall, wide = (int(rng.integers(side // 3, side // 2 + 1)) for side in size)
        top, left = (int(rng.integers(0, side - part + 1)) for side, part in zip(size, (tall, wide), strict=True))
        truth = np.zeros(size, np.float32)
        truth[top : top + tall, left : left + wide] = 1
        opacity = cv2.resize(truth, still.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
        mixed = np.rint(opacity * blurry + (1 - opacity) * still).astype(np.uint8)
        found = blurriness(mixed).map_px[: size[0], : size[1]]
        inside = truth > 0
        overlaps.append(float((inside & (found >= BLURRY_PX)).sum() / (inside | (found >= BLURRY_PX)).sum()))
        areas.append(area_under_roc(found[~inside].tolist(), found[inside].tolist()))
        progress.advance()
    return {"images": len(files), "median_overlap": median(overlaps), "median_auc_of_cells": median(areas)}


def main(data: Path, made: Path) -> None:
    sets = {name: [path for path, _ in find_images(data / "sharp_eval" / name)] for name in ("kodak24", "gopro")}
    with Progress("images", 2 * sum(map(len, sets.values())) + len(sets["gopro"]) + 3) as progress:
        found: dict[str, Any] = {"pairs_test": pairs(data / "pairs_test", progress)}
        found |= {f"{name}, synthesized": pairs(made / name, progress) for name in sets}
        print(found, flush=True)
        for name, files in sets.items():
            found[name] = seeded(files, progress)
            print(name, found[name], flush=True)
            found[f"{name}, regions"] = regions(files, progress)
            print(found[f"{name}, regions"], flush=True)
        found["gopro, half size"] = seeded(sets["gopro"], progress, halved=True)
        print(found["gopro, half size"], flush=True)
    write_result(OUTPUT, {"blurry_px": BLURRY_PX, "sets": found})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
