"""A contact sheet of a synthesized set, to inspect its sharp and blurry images before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tfmlc.data.synthesis.manifest import read_manifest
from tfmlc.io.images import Image, read_rgb8, write_image

SHEET = "sheet.png"
ROWS, THUMBNAIL_PX, LABEL_PX, GAP_PX = 24, 240, 18, 4


def write_sheet(folder: Path) -> None:
    """Write ``sheet.png``: up to 24 images spread evenly over the set, each with its name and motion in px."""
    settings, rows = read_manifest(folder)
    made = list({row["name"]: row for row in rows if row.get("name") and row.get("files")}.values())
    made = [row for row in made if all((folder / name).is_file() for name in row["files"])]
    if not made:
        return
    made.sort(key=lambda row: row["name"])
    chosen = [made[index] for index in sorted({round(i * (len(made) - 1) / (ROWS - 1)) for i in range(ROWS)})]
    strips = [_strip(folder, row, settings["folders"]) for row in chosen]
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(strip, ((0, GAP_PX), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips
    ]
    write_image(folder / SHEET, Image(np.concatenate(padded)))


def _strip(folder: Path, row: dict[str, Any], names: list[str]) -> NDArray[np.uint8]:
    images = [_thumbnail(read_rgb8(folder / name / row["name"])) for name in names]
    height = max(image.shape[0] for image in images)
    line = np.full((height + LABEL_PX, (THUMBNAIL_PX + GAP_PX) * len(images), 3), 255, np.uint8)
    motion = row.get("displacement_px", row.get("strength_px", 0.0))
    labels = [f"{row['name'].removesuffix('.png')}  {motion:.0f} px", *names[1:]]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left = number * (THUMBNAIL_PX + GAP_PX)
        line[LABEL_PX : LABEL_PX + image.shape[0], left : left + image.shape[1]] = image
        text = label.encode("ascii", "replace").decode()
        cv2.putText(line, text[-34:], (left, LABEL_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = THUMBNAIL_PX / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
