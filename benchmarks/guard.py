"""How often each check of the guard fires: on ordinary results, on other images, and on planted faults.

The images took no part in the choice of the limits. A fault is planted in results on blurred images, where it shows.

python benchmarks/guard.py ../shared/data
"""

from __future__ import annotations

import io
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.deblur import Deblurrer
from tfmlc.deblur.guard import WORDS, measure
from tfmlc.io.images import find_images, read_rgb8
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

OUTPUT = Path(__file__).parent.parent / "results" / "guard.json"
SIDE_PX, MARGIN_PX, TILE_PX = 256, 32, 160
EACH, PLANTED, OTHERS = 84, 40, 20  # images of each kind: restored by default, with faults, restored by other models
LENGTHS_PX = (4, 10, 18, 28)
VISIBLE_RMS = {"halo": 0.2, "colour": 0.08, "part": 0.2}  # of the change that a fault makes, within the tile
Pixels = NDArray[np.uint8]
Kind = Callable[[Pixels, np.random.Generator], Pixels]


def pixels(values: NDArray[Any]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def inner(image: Pixels) -> Pixels:
    return np.ascontiguousarray(image[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])


def blurred(image: Pixels, rng: np.random.Generator) -> Pixels:
    config = BlurConfig(strength_px=(float(rng.choice(LENGTHS_PX)),) * 2, light="mixed")
    return blur_image(image, config, rng, margin_px=MARGIN_PX)[0]


def noisy(image: Pixels, rng: np.random.Generator) -> Pixels:
    return pixels(blurred(image, rng) + rng.normal(0, rng.uniform(5, 25), (SIDE_PX, SIDE_PX, 3)))


def defocused(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = 2 * int(rng.integers(2, 9)) + 1
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    return inner(np.asarray(cv2.filter2D(image, -1, disk / disk.sum()), np.uint8))


def compressed(image: Pixels, rng: np.random.Generator) -> Pixels:
    content = io.BytesIO()
    Image.fromarray(blurred(image, rng)).save(content, "JPEG", quality=int(rng.integers(20, 80)))
    return np.asarray(Image.open(content).convert("RGB"), np.uint8).copy()


def adversarial(_: Pixels, rng: np.random.Generator) -> Pixels:
    """Stripes, checkers, noise, steps and extremes: what photos are not."""
    y, x = np.indices((SIDE_PX, SIDE_PX))
    shown = [
        (x // int(rng.integers(1, 9)) % 2) * 255,
        ((x // 2 + y // 2) % 2) * 255,
        rng.integers(0, 256, x.shape),
        np.where(x > SIDE_PX // 2, 255, 0),
        np.full(x.shape, int(rng.choice((0, 128, 255)))),
        x * 255 // SIDE_PX,
    ]
    return pixels(shown[int(rng.integers(len(shown)))][..., None].repeat(3, axis=2))


KINDS: dict[str, Kind] = {
    "sharp": lambda image, _: inner(image),
    "blurred": blurred,
    "blurred and noisy": noisy,
    "blurred, JPEG": compressed,
    "out of focus": defocused,
    "adversarial": adversarial,
}


def mesh(levels: float, image: Pixels, _: np.random.Generator) -> Pixels:
    y, x = np.indices(image.shape[:2])
    lines = ((x % 4 == 0) | (y % 4 == 0))[..., None] * levels
    return pixels(image + lines - lines.mean())


def halos(amount: float, image: Pixels, _: np.random.Generator) -> Pixels:
    smooth = cv2.GaussianBlur(image, (0, 0), 6).astype(np.float32)
    return pixels(smooth + amount * (image - smooth))


def elsewhere(image: Pixels, rng: np.random.Generator) -> Pixels:
    return tile(lambda area: np.rot90(area, 2), image, rng)


def tile(value: Callable[[Pixels], Any], image: Pixels, rng: np.random.Generator) -> Pixels:
    top, left = rng.integers(0, SIDE_PX - TILE_PX + 1, 2)
    area = slice(top, top + TILE_PX), slice(left, left + TILE_PX)
    changed = image.copy()
    changed[area] = value(image[area])
    return changed


FAULTS: dict[str, tuple[str, Kind]] = {
    "mesh of 4 levels": ("mesh", partial(mesh, 4)),
    "mesh of 8 levels": ("mesh", partial(mesh, 8)),
    "halos": ("halo", partial(halos, 6)),
    "strong halos": ("halo", partial(halos, 10)),
    "30 % lighter": ("colour", lambda image, _: pixels(image * 1.3)),
    "gamma 0.6": ("colour", lambda image, _: pixels(255 * (image / 255) ** 0.6)),
    "colour cast": ("colour", lambda image, _: pixels(image + np.array([30, 0, -30]))),
    "red and blue swapped": ("colour", lambda image, _: image[..., ::-1].copy()),
    "black": ("colour", lambda image, _: np.zeros_like(image)),
    "black tile": ("part", partial(tile, lambda _: 0)),
    "white tile": ("part", partial(tile, lambda _: 255)),
    "negative tile": ("part", partial(tile, lambda area: 255 - area)),
    "tile from elsewhere": ("part", elsewhere),
}


def shows(kind: str, result: Pixels, changed: Pixels) -> bool:
    """Whether a planted fault is visible: a mesh is everywhere, the others need edges, colours or light."""
    rms = float(np.sqrt(np.square((changed.astype(float) - result) / 255).mean()))
    return rms * (SIDE_PX / TILE_PX if kind == "part" else 1) > VISIBLE_RMS.get(kind, 0)


def crops(folders: list[Path]) -> Iterator[tuple[Pixels, np.random.Generator]]:
    """Random crops of the photos of the folders, in turn, each with its source of randomness."""
    files = [path for folder in folders for path, _ in find_images(folder)]
    side = SIDE_PX + 2 * MARGIN_PX
    for number, path in enumerate(cycle(files)):
        rng = np.random.default_rng(number)
        photo = read_rgb8(path)
        top, left = (int(rng.integers(0, whole - side + 1)) for whole in photo.shape[:2])
        yield np.ascontiguousarray(photo[top : top + side, left : left + side]), rng


def made(kind: Kind, folders: list[Path]) -> Iterator[tuple[Pixels, np.random.Generator]]:
    for crop, rng in crops(folders):
        yield kind(crop, rng), rng


def row(name: str, found: list[tuple[str, ...]], *, planted: str = "") -> dict[str, Any]:
    fired = Counter(kind for faults in found for kind in faults)
    counts = {kind: fired[kind] for kind in WORDS} | {"any": sum(map(bool, found))}
    return {"images": name, "planted": planted, "count": len(found), **counts}


def main(data: Path) -> None:
    sharp = [data / "sharp_eval" / "kodak24", data / "sharp_eval" / "gopro"]
    genuine = {f"genuine pairs, {side}": data / "pairs_test" / side for side in ("sharp", "blur")}
    models = {name: Deblurrer.load(name).unguarded() for name in ("default", "default-psnr")}
    rows: list[dict[str, Any]] = []
    planted: dict[str, list[tuple[str, ...]]] = defaultdict(list)

    def restored(model: str, image: Pixels) -> Pixels:
        return models[model](image, on_unreliable=lambda _: None)

    inputs = {name: made(kind, sharp) for name, kind in KINDS.items()}
    inputs |= {name: made(KINDS["sharp"], [folder]) for name, folder in genuine.items()}
    with Progress("images", len(inputs) * EACH) as progress:
        for name, images in inputs.items():
            found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
            for number, (blurry, rng) in enumerate(islice(images, EACH)):
                result = restored("default", blurry)
                found["default"].append(measure(blurry, result).faults)
                if number < OTHERS:
                    other = restored("default-psnr", blurry)
                    found["default-psnr"].append(measure(blurry, other).faults)
                if number < PLANTED and name in ("blurred", "genuine pairs, blur"):
                    for fault, (kind, plant) in FAULTS.items():
                        changed = plant(result, rng)
                        if shows(kind, result, changed):
                            planted[fault].append(measure(blurry, changed).faults)
                progress.advance()
            rows += [{**row(name, faults), "model": model} for model, faults in found.items()]
            print(rows[-2:], flush=True)
    ordinary = [one for one in rows if one["model"] == "default" and one["images"] != "adversarial"]
    total = {"count": sum(one["count"] for one in ordinary), "any": sum(one["any"] for one in ordinary)}
    faults = [row(fault, planted[fault], planted=kind) for fault, (kind, _) in FAULTS.items()]
    print(total, *faults, sep="\n")
    write_result(OUTPUT, {"side_px": SIDE_PX, "ordinary": total, "rows": rows, "planted": faults})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
