"""A check of every result: a mesh, halos, wrong brightness or colours, and parts that do not show the image.

The limits were chosen on results and on sharp images of the training photos; ``benchmarks/guard.py`` measures them on
others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.io.images import to_depth
from tfmlc.io.images.crops import crop_starts
from tfmlc.metrics.periodicity import PERIOD_PX, periodicity

Pixels = NDArray[Any]
ImageF = NDArray[np.float32]
AVERAGED_PX, CELL_PX = 16, 128  # the image is averaged over squares of 16 px and judged in cells of 128 px
CROP_PX, CROPS = 256, 5  # meshes and halos are looked for in the crops with the most contrast
MOST_TIMES, USUAL_PERIODICITY = 3.0, 3.0  # a mesh has more than 3 times the periodicity of the image
LEAST_LEVELS = 0.1  # of 255; a fainter mesh is not visible
CERTAIN, LIKELY = 5.0, 3.0  # times what chance gives: a mesh for sure, and one if the periodicity says so, too
AROUND_PX, OVERSHOOT, MOST_PIXELS = 32, 0.1, 0.15  # halos exceed the range around them by 0.1
MOST_CHANGE, MOST_CHANGE_OF_CELL = 0.04, 0.17  # of the mean of a channel; sharp sides of genuine pairs reach 0.14
CONTRAST, LEAST_EXPLAINED = 0.05, 0.4  # where the image varies so much, a blur of the result explains so much of it
RIDGE = 1e-3  # keeps the weights of that blur small where the result hardly varies

WORDS = {
    "mesh": f"the result has a mesh of {PERIOD_PX} px that the image does not have",
    "halo": "the result has halos: edges lighter or darker than everything near them in the image",
    "colour": "the result has another brightness or colour than the image",
    "part": "a part of the result does not show the image",
}


@dataclass(frozen=True)
class Measures:
    """What is measured between an image and its result.

    Attributes:
        mesh: The periodicity of the result relative to that of the image, the median over some crops.
        mesh_levels: The standard deviation of the mesh in grey levels of 255, the median over the crops.
        mesh_certainty: The same relative to what chance gives.
        halo: The fraction of pixels that lie far outside the range of the image around them, in the worst crop.
        colour: The change of the mean of the channel that changes most.
        cell: The same of the worst cell.
        explained: How much of the variation of the image a blur of the result explains, in the worst cell.
    """

    mesh: float
    mesh_levels: float
    mesh_certainty: float
    halo: float
    colour: float
    cell: float
    explained: float

    @property
    def faults(self) -> tuple[str, ...]:
        """The kinds of faults, most serious first: keys of ``WORDS``."""
        least = LIKELY if self.mesh > MOST_TIMES else CERTAIN
        found = {
            "colour": self.colour > MOST_CHANGE,
            "part": self.cell > MOST_CHANGE_OF_CELL or self.explained < LEAST_EXPLAINED,
            "mesh": self.mesh_certainty > least and self.mesh_levels > LEAST_LEVELS,
            "halo": self.halo > MOST_PIXELS,
        }
        return tuple(kind for kind, is_found in found.items() if is_found)


def find_fault(blurry: Pixels, restored: Pixels, crops: int = CROPS) -> str:
    """Return a sentence about the most serious fault of a result; empty if there is none.

    Args:
        blurry: The image ``h w c``: uint8, uint16 or float32 in [0, 1], with or without alpha.
        restored: The result, of the same type and size.
        crops: The number of crops in which meshes and halos are looked for.

    Example:
        >>> image = np.random.default_rng(0).integers(90, 160, (64, 64, 3), dtype=np.uint8)
        >>> find_fault(image, image), find_fault(image, np.zeros_like(image))
        ('', 'the result has another brightness or colour than the image')
    """
    return next((WORDS[kind] for kind in measure(blurry, restored, crops).faults), "")


def measure(blurry: Pixels, restored: Pixels, crops: int = CROPS) -> Measures:
    """Measure an image and its result; arguments as in ``find_fault``."""
    colours = 1 if blurry.shape[2] <= 2 else 3
    blurry, restored = blurry[..., :colours], restored[..., :colours]
    before, after = _averaged(blurry, AVERAGED_PX), _averaged(restored, AVERAGED_PX)
    change = after - before
    meshes: list[tuple[float, float, float]] = []
    halo = 0.0
    for one, other in _crops(blurry, restored, before, crops):
        was, now = (periodicity(crop) for crop in (one, other))
        meshes.append((now / max(was, USUAL_PERIODICITY), *_in_step(one, other)))
        if min(one.shape[:2]) > 2 * AROUND_PX:
            halo = max(halo, _overshoot(one, other))
    times, levels, certainty = np.median(np.nan_to_num(meshes), axis=0)  # NaN: an image too small to have a mesh
    return Measures(
        mesh=float(times),
        mesh_levels=float(levels),
        mesh_certainty=float(certainty),
        halo=halo,
        colour=float(np.abs(change.mean(axis=(0, 1))).max()),
        cell=float(np.abs(_around(change)).max()),
        explained=min(map(_least_explained, _planes(before), _planes(after))),
    )


def _averaged(pixels: Pixels, side_px: int) -> ImageF:
    """Average an image over squares; the result is float in [0, 1], ``h w c``."""
    height, width, channels = pixels.shape
    size = max(1, width // side_px), max(1, height // side_px)
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return small.reshape(size[1], size[0], channels).astype(np.float32) / np.float32(top)


def _around(small: ImageF) -> ImageF:
    """Return the means of the cells around all averaged squares."""
    cell = (CELL_PX // AVERAGED_PX,) * 2
    return np.asarray(cv2.blur(small, cell, borderType=cv2.BORDER_REPLICATE), np.float32)


def _planes(small: ImageF) -> list[ImageF]:
    """Return the grey and, of a colour image, the differences of red and blue, and of green and both."""
    grey = small.mean(axis=2)
    if small.shape[2] == 1:
        return [grey]
    red, green, blue = np.moveaxis(small, 2, 0)
    return [grey, red - blue, green - (red + blue) / 2]


def _least_explained(before: ImageF, after: ImageF) -> float:
    """Return how much of the image a blur of the result explains, in the worst cell with contrast; 1 without any.

    The blur of a cell is the best 3x3 filter of averaged squares, by least squares. One that is negative on the whole
    explains nothing. Sharp images explain their blurry versions also after long motion, which a plain correlation
    does not show.
    """
    height, width = before.shape
    rows, columns = (min(CELL_PX // AVERAGED_PX, side) for side in before.shape)
    padded = np.pad(after, 1, mode="edge")
    shifted = np.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=-1)
    least = 1.0
    for top in crop_starts(height, rows, max(1, rows // 2)):
        cells = [slice(left, left + columns) for left in crop_starts(width, columns, max(1, columns // 2))]
        image = np.stack([before[top : top + rows, cell].reshape(-1) for cell in cells])
        result = np.stack([shifted[top : top + rows, cell].reshape(-1, 9) for cell in cells])
        varied = image.var(axis=1) > CONTRAST**2
        if varied.any():
            least = min(least, float(_explained(image[varied], result[varied]).min()))
    return least


def _explained(image: ImageF, result: ImageF) -> ImageF:
    """Return the explained part of the variance for each cell: images ``n k``, shifted results ``n k 9``."""
    image = image - image.mean(axis=1, keepdims=True)
    result = result - result.mean(axis=1, keepdims=True)
    transposed = result.transpose(0, 2, 1)
    ridge = RIDGE * image.shape[1] * np.eye(9, dtype=np.float32)
    weights = np.asarray(np.linalg.solve(transposed @ result + ridge, transposed @ image[..., None]), np.float32)
    rest = image - (result @ weights)[..., 0]
    explained = 1 - np.square(rest).sum(axis=1) / np.square(image).sum(axis=1)
    return np.where(weights.sum(axis=(1, 2)) > 0, explained, np.float32(0))


def _crops(blurry: Pixels, restored: Pixels, small: ImageF, count: int) -> Iterator[tuple[Pixels, Pixels]]:
    """Yield the same crops of both images, in 8 bits, from the highest contrast on."""
    starts = [range(0, max(1, side - CROP_PX // 2), CROP_PX) for side in blurry.shape[:2]]
    last = [max(0, side - CROP_PX) for side in blurry.shape[:2]]
    places = [(min(top, last[0]), min(left, last[1])) for top in starts[0] for left in starts[1]]

    def contrast(place: tuple[int, int]) -> float:
        top, left = (start // AVERAGED_PX for start in place)
        reach = CROP_PX // AVERAGED_PX
        return float(small[top : top + reach, left : left + reach].std())

    for top, left in sorted(places, key=contrast, reverse=True)[:count]:
        area = slice(top, top + CROP_PX), slice(left, left + CROP_PX)
        yield to_depth(np.ascontiguousarray(blurry[area]), 8), to_depth(np.ascontiguousarray(restored[area]), 8)


def _in_step(blurry: Pixels, restored: Pixels) -> tuple[float, float]:
    """Return the standard deviation of what a change has in common in all squares of the period, and its certainty.

    It is in grey levels. The certainty is relative to what independent pixels of the same change would give.
    """
    change = restored.mean(axis=2, dtype=np.float32) - blurry.mean(axis=2, dtype=np.float32)
    change -= np.asarray(cv2.blur(change, (2 * PERIOD_PX, 2 * PERIOD_PX)), np.float32)
    rows, columns = (side // PERIOD_PX for side in change.shape)
    change = change[: rows * PERIOD_PX, : columns * PERIOD_PX]
    if not rows * columns or not change.any():
        return 0.0, 0.0
    levels = float(change.reshape(rows, PERIOD_PX, columns, PERIOD_PX).mean(axis=(0, 2)).std())
    return levels, levels / (float(change.std()) / (rows * columns) ** 0.5)


def _overshoot(blurry: Pixels, restored: Pixels) -> float:
    """Return the fraction of pixels that lie far outside the range of the blurry pixels around them."""
    around = np.ones((2 * AROUND_PX + 1,) * 2, np.uint8)
    above = cv2.subtract(restored, cv2.dilate(blurry, around))
    below = cv2.subtract(cv2.erode(blurry, around), restored)
    far = np.maximum(above, below).reshape(restored.shape).max(axis=2) > OVERSHOOT * 255
    return float(far.mean())
