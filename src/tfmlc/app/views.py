"""What the page shows of a file: the photo, or one frame of the video, before and after, and where it is blurred."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tfmlc.deblur.comparison import frame_of, frame_to_show
from tfmlc.io.images import Image, read_image, to_depth, write_image
from tfmlc.io.video import is_video_name

LONGEST_PX = 4096  # of a side; most phones' photos are shown pixel by pixel


def shown(path: Path, frame: int = 0) -> Image:
    """Read what is shown of a file: an image with 8 bits and a side of at most 4096 px.

    Args:
        path: A photo or a video.
        frame: The number of the frame of a video.

    Raises:
        UserError: If the file cannot be read.
    """
    if is_video_name(path):
        image = frame_of(path, frame)
    else:
        read = read_image(path)
        image = Image(to_depth(read.pixels, 8), icc=read.icc)
    return _reduced(image)


def _reduced(image: Image) -> Image:
    height, width = image.pixels.shape[:2]
    if max(height, width) <= LONGEST_PX:
        return image
    scale = LONGEST_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)
    return image.with_pixels(np.asarray(smaller, np.uint8).reshape(size[1], size[0], -1))


def write_views(folder: Path, source: Path, target: Path, *, blur_map: bool) -> tuple[dict[str, str], float | None]:
    """Write what is shown of a file and its result, as JPEG files.

    Args:
        folder: The folder for them.
        source: The blurry file.
        target: The result.
        blur_map: Whether to also write where the file is blurred.

    Returns:
        The files by name: before, after and map; and the blurriness in px of motion, if there is a map.

    Raises:
        UserError: If a file cannot be read or written.
    """
    frame, score = frame_to_show(source), None
    views = {"before": shown(source, frame), "after": shown(target, frame)}
    if blur_map:
        from tfmlc.deblur.measuring import LINE_PX, drawn, measure_file

        measured = measure_file(source)
        score = measured.score_px
        views["map"] = _reduced(Image(drawn(measured)[:-LINE_PX]))
    paths = {name: folder / f"{name}.jpg" for name in views}
    for name, image in views.items():
        write_image(paths[name], image)
    return {name: str(path) for name, path in paths.items()}, score
