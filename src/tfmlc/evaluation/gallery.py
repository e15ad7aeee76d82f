"""The images of a report: each beside the results of all models, with its scores, encoded once for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tfmlc.data.datasets.choice import evenly
from tfmlc.data.datasets.pairs import Pair, read_pair
from tfmlc.evaluation.identity import DataSet
from tfmlc.evaluation.scores import Scores, gain, psnr_column
from tfmlc.evaluation.sources import BLURRY, SHARP
from tfmlc.evaluation.tables import digits, higher_is_better
from tfmlc.io.images import read_rgb8
from tfmlc.runtime.progress import Progress

MOST_IMAGES = 100  # on the page, so that it stays small
WIDE_PX, CROP_PX, THUMBNAIL_PX, QUALITY = 960, 224, 80, 85
GAIN = "gain"
Image8 = NDArray[np.uint8]


@dataclass(frozen=True)
class GalleryImage:
    """One image on the page.

    Attributes:
        name: Its name.
        why: What it is an example of; empty for most images.
        scores: The scores by model and metric.
        size: Its width and height in px.
        thumbnail: A small version, as a data URL.
        wide: The blurry image, the result of each model and the sharp image, as data URLs.
        crops: The part of each that the last model changed most.
    """

    name: str
    why: str
    scores: dict[str, dict[str, float | None]]
    size: tuple[int, int]
    thumbnail: str
    wide: dict[str, str]
    crops: dict[str, str]


@dataclass(frozen=True)
class Gallery:
    """The images of a dataset.

    Attributes:
        images: The images, in the order of the dataset.
        total: The number of images of the dataset.
        labels: What can be shown of each image: the blurry one, the results and the sharp one.
        models: The labels of the models, the last one last.
        metrics: For each metric its ``key``, ``name``, ``digits`` and whether ``higher`` is better.
    """

    images: list[GalleryImage]
    total: int
    labels: list[str]
    models: list[str]
    metrics: list[dict[str, Any]]

    @property
    def index(self) -> dict[str, Any]:
        """What the page filters and sorts by."""
        images = [{"name": image.name, "scores": image.scores} for image in self.images]
        return {"metrics": self.metrics, "images": images}


def is_scored_on(scores: Sequence[Scores], dataset: DataSet) -> bool:
    """Whether the scores of some models are of a dataset as it is now; reads every file if the names are the same."""
    if not {pair.name for pair in dataset.pairs} >= scores[0].per_image.keys():
        return False
    known = next(filter(None, (item.info.get("dataset_sha256") for item in scores)), None)
    return known is None or known == dataset.sha256()


def build_gallery(scores: Sequence[Scores], dataset: DataSet) -> Gallery | None:
    """Read and encode the images of a dataset, at most 100, which are evenly spread over the gain of the last model.

    Args:
        scores: The scores of the models on this dataset, those of the blurry images first.
        dataset: The dataset.

    Returns:
        The gallery; None if no results were kept.
    """
    models = [(item, item.images) for item in scores if item.images is not None]
    if not models:
        return None
    pairs, last = {pair.name: pair for pair in dataset.pairs}, models[-1][0]
    before = next((item for item in scores if item.is_input), None)
    column = psnr_column([last] if before is None else [before, last])
    chosen = examples(before, last, column)
    labels = [BLURRY, *(item.label for item, _ in models if not item.is_input), SHARP]
    images: list[GalleryImage] = []
    with Progress("images of the report", len(chosen)) as progress:
        for name in sorted(chosen, key=list(pairs).index):
            of_each = {item.label: _scores_of(item, before, name, column) for item in scores}
            folders = {item.label: folder for item, folder in models if not item.is_input}
            images.append(_encoded(pairs[name], folders, chosen[name], of_each))
            progress.advance()
    rated = [item.label for item in scores if not item.is_input] or [last.label]
    return Gallery(images, len(last.per_image), labels, rated, _metrics(scores, column, gains=before is not None))


def examples(before: Scores | None, last: Scores, column: str) -> dict[str, str]:
    """Return the images to show, the best first, and what they are examples of."""
    gains = {
        name: gain(before, last, name, column) if before is not None else float(row.get(column) or 0.0)
        for name, row in last.per_image.items()
    }
    ranked = sorted(gains, key=lambda name: -gains[name])
    end = len(ranked) - 1
    places = {end: "worst", len(ranked) // 2: "median", 0: "most improved" if before is not None else "best"}
    if end == 0:
        places = {0: ""}
    shown = sorted({*evenly(range(len(ranked)), MOST_IMAGES), *places})
    return {ranked[place]: places.get(place, "") for place in shown}


def _scores_of(item: Scores, before: Scores | None, name: str, column: str) -> dict[str, float | None]:
    scores = item.per_image.get(name, {})
    return scores if before is None else {GAIN: gain(before, item, name, column), **scores}


def _metrics(scores: Sequence[Scores], column: str, *, gains: bool) -> list[dict[str, Any]]:
    keys = dict.fromkeys(key for item in scores for key in item.mean)
    found = [{"key": key, "name": key, "digits": digits(key), "higher": higher_is_better(key)} for key in keys]
    first = {"key": GAIN, "name": f"gain in {column}", "digits": digits(column), "higher": True}
    return [first, *found] if gains and column else found


def _encoded(
    pair: Pair, folders: dict[str, Path], why: str, scores: dict[str, dict[str, float | None]]
) -> GalleryImage:
    blurry, sharp = read_pair(pair)
    file = Path(pair.name).with_suffix(".png")
    shown = {BLURRY: blurry, **{label: read_rgb8(folder / file) for label, folder in folders.items()}, SHARP: sharp}
    last = [*shown.values()][-2]
    area = changed_place(blurry, last)
    return GalleryImage(
        pair.name,
        why,
        scores,
        (int(blurry.shape[1]), int(blurry.shape[0])),
        as_data(last, THUMBNAIL_PX),
        {label: as_data(image, WIDE_PX) for label, image in shown.items()},
        {label: as_data(image[area], CROP_PX, enlarge=True) for label, image in shown.items()},
    )


def as_data(image: Image8, longest_px: int, *, enlarge: bool = False) -> str:
    """Return an image as a data URL (WebP), reduced to ``longest_px`` or, with ``enlarge``, resized to it."""
    photo = Image.fromarray(np.ascontiguousarray(image))
    factor = longest_px / max(photo.size)
    if factor < 1 or enlarge:
        size = max(1, round(photo.width * factor)), max(1, round(photo.height * factor))
        photo = photo.resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    photo.save(content, "WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def changed_place(blurry: Image8, restored: Image8) -> tuple[slice, slice]:
    """Return the square that the model changed most; its side is a quarter of the image's shorter side."""
    import cv2

    side = max(16, min(blurry.shape[:2]) // 4)
    difference = np.abs(blurry.astype(np.float32) - restored.astype(np.float32)).mean(axis=2)
    filtered = cast(Any, cv2).boxFilter(difference, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    energy: NDArray[np.float32] = np.asarray(filtered, np.float32)
    half = side // 2
    inner = energy[half : max(half + 1, energy.shape[0] - half), half : max(half + 1, energy.shape[1] - half)]
    top, left = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)
