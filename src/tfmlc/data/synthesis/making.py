"""The images of one photo or video of a set; each runs in its own process."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.synthesis.blur import BlurConfig, blur_levels
from tfmlc.data.synthesis.planning import SyntheticImage
from tfmlc.data.synthesis.videos import VideoBlurConfig, VideoWindow, video_windows
from tfmlc.data.synthesis.windows import BlurWindow
from tfmlc.errors import in_one_line
from tfmlc.io.files import file_sha256
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.io.video import Video


@dataclass
class Made:
    """The result of one photo or video.

    Attributes:
        rows: Its rows of the manifest.
        remarks: Remarks for the user.
        error: The error that stopped it, if any.
    """

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    remarks: list[str] = field(default_factory=list[str])
    error: str | None = None


def make_synthetic(image: SyntheticImage, *, output: Path, names: Sequence[str], blur: BlurConfig) -> Made:
    """Write the images of one version of a photo.

    Args:
        image: The version to make.
        output: The folder of the set.
        names: The names of the set's folders.
        blur: The settings of the blur.

    Returns:
        The row of the manifest, or the error if anything failed.
    """
    made = Made()
    try:
        rng = np.random.default_rng(image.seed)
        levels, sharp, record = blur_levels(read_rgb8(image.source), blur, rng, levels=len(names) - 1)
        files = {f"{folder}/{image.name}": _write(output / folder / image.name, pixels)
                 for folder, pixels in zip(names, [sharp, *levels], strict=True)}  # fmt: skip
    except Exception as error:  # the other photos are still processed
        made.error = in_one_line(error, image.source)
        return made
    row = {
        "name": image.name,
        "video": image.scene,
        "source": str(image.source),
        "seed": list(image.seed),
        "strength_px": round(record.strength_px, 3),
        "light": record.light,
        "moving_patches": record.moving_patches,
        "trajectory": np.round(record.trajectory.poses, 6).tolist(),
        "files": files,
    }
    made.rows.append(row)
    return made


def make_video(
    video: Video, *, output: Path, names: Sequence[str], config: VideoBlurConfig, whole: frozenset[str]
) -> Made:
    """Write the images of one video.

    Args:
        video: The video.
        output: The folder of the set.
        names: The names of the set's folders.
        config: The settings of the blur.
        whole: Names of images that exist already.

    Returns:
        The rows of the manifest and remarks. If anything failed, the error and the rows finished before it.
    """
    made = Made()
    pending: list[tuple[dict[str, Any], Future[dict[str, str]]]] = []

    def settle() -> None:
        while pending:
            row, files = pending.pop(0)
            made.rows.append({**row, "files": files.result()})

    number = 0
    with ThreadPoolExecutor(1) as writer:  # averages and compresses while the next frames are decoded
        try:
            source = {"source": str(video.path)} | ({} if video.frames else {"source_sha256": file_sha256(video.path)})
            for found in video_windows(video, config, made.remarks.append):
                number += 1
                name = f"{video.name}/{number:06d}.png"
                if name in whole:
                    continue
                settle()  # so that at most two windows of frames are in memory
                files = writer.submit(_write_window, found, output, [f"{folder}/{name}" for folder in names])
                pending.append(
                    ({"name": name, "video": video.name, **source, **_describe(found.window, config)}, files)
                )
            settle()
        except Exception as error:
            made.error = in_one_line(error, video.path)
            try:
                settle()
            except Exception as second:
                made.error = in_one_line(second, video.path)
            return made
    made.rows.append({"name": video.name, **source, "windows": number, "files": {}})
    if number == 0:
        made.remarks.append(_without_window(video, config))
    return made


def _without_window(video: Video, config: VideoBlurConfig) -> str:
    return (
        f"{video.path} has no window: between scene cuts it has fewer than {config.min_frames} frames or less than "
        f"{config.min_displacement_px:g} px of motion"
    )


def _describe(window: BlurWindow, video: VideoBlurConfig) -> dict[str, Any]:
    """Describe how a window was found and averaged. Frame numbers are those of the interpolated video."""
    return {
        "window": [window.start, window.stop],
        "sharp_frame": window.sharp,
        "levels": [list(window.level(level, video.levels)) for level in range(1, video.levels + 1)],
        "displacement_px": round(window.displacement_px, 4),
    }


def _write_window(found: VideoWindow, output: Path, files: Sequence[str]) -> dict[str, str]:
    return {file: _write(output / file, pixels) for file, pixels in zip(files, found.average(), strict=True)}


def _write(path: Path, pixels: NDArray[np.uint8]) -> str:
    """Write an image and return the sha256 of its file."""
    write_image(path, Image(pixels), fast=True)
    return file_sha256(path)
