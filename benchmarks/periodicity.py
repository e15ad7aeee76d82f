"""Periodicity of images of known kinds: sharp, blurry, JPEG, and what models make of blurry ones.

python benchmarks/periodicity.py ../shared/data/sharp_train ../shared/data/pairs_train
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.deblur import Deblurrer
from tfmlc.metrics.periodicity import periodicity
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

OUTPUT = Path(__file__).parent.parent / "results" / "periodicity.json"
PERIODS_PX = (4, 8, 14, 16)
QUALITIES = (95, 85, 70, 50, 30)
MODELS = ("default-psnr", "default")
RESTORED_EVERY = 25  # a photo of so many: restoring takes seconds
Pixels = NDArray[np.uint8]


def read(path: Path | io.BytesIO, shrink: int = 1) -> Pixels:
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    return np.asarray(rgb.reduce(shrink) if shrink > 1 else rgb, np.uint8)


def as_jpeg(pixels: Pixels, quality: int) -> Pixels:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return read(content)


def kinds(photos: Path, pairs: Path) -> Iterator[tuple[str, Iterable[Pixels], int]]:
    """Name of a kind, its images and how many there are; photos are halved, which ends their own JPEG's blocks."""
    files = sorted(path for path in photos.iterdir() if path.is_file())
    yield "sharp photos, halved", (read(path, 2) for path in files), len(files)
    for quality in QUALITIES:
        yield f"the same, JPEG {quality}", (as_jpeg(read(path, 2), quality) for path in files), len(files)
    some: list[Path] = []
    for name, title in (("gopro", "GoPro"), ("reds", "REDS")):
        for side in ("sharp", "blur"):
            found = sorted((pairs / name / side).iterdir())
            yield f"{title} frames, {'blurry' if side == 'blur' else side}", map(read, found), len(found)
        some += found[::RESTORED_EVERY]
    yield "some of the blurry frames", map(read, some), len(some)
    for model in MODELS:
        deblurrer = Deblurrer.load(model).unguarded()
        yield f"the same, restored by {model}", (deblurrer(read(path), on_unreliable=print) for path in some), len(some)


def main() -> None:
    rows: list[dict[str, Any]] = []
    for name, images, count in kinds(*map(Path, sys.argv[1:3])):
        values: dict[int, list[float]] = {period: [] for period in PERIODS_PX}
        with Progress(name, count) as progress:
            for image in images:
                for period in PERIODS_PX:
                    values[period].append(periodicity(image, period))
                progress.advance()
        row: dict[str, Any] = {"images": name, "count": count}
        for period, found in values.items():
            quantiles = np.quantile(found, (0.5, 0.9, 1.0))
            median, one_in_ten, most = (round(float(value), 2) for value in quantiles)
            row[str(period)] = {"median": median, "one_in_ten": one_in_ten, "most": most}
        rows.append(row)
        print(row)
    write_result(OUTPUT, {"rows": rows})


if __name__ == "__main__":
    main()
