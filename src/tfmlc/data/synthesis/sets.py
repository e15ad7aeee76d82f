"""Folders of pairs and triplets from photos and videos, with a manifest of how each image was made."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tfmlc.config import Config
from tfmlc.data.synthesis.blur import BlurConfig, blur_levels
from tfmlc.data.synthesis.manifest import Manifest, distinct_stems, file_sha256
from tfmlc.data.synthesis.sheet import write_sheet
from tfmlc.data.synthesis.videos import VideoBlurConfig, VideoWindow, video_windows
from tfmlc.data.synthesis.windows import BlurWindow
from tfmlc.errors import UserError, in_one_line
from tfmlc.io.images import Image, find_images, is_image_name, read_rgb8, write_image
from tfmlc.io.locks import folder_lock
from tfmlc.io.video import Video, find_videos, is_video_name
from tfmlc.runtime.parallel import worker_pool
from tfmlc.runtime.progress import Progress

Kind = Literal["pairs", "triplets"]


@dataclass(frozen=True)
class SyntheticImage:
    """A photo to blur, under ``name``, with a seed of its own; ``video`` is what its versions share."""

    source: Path
    name: str
    scene: str
    seed: tuple[int, int, int]


class SetConfig(Config):
    """What a synthesized set holds and how it is made."""

    kind: Kind = Field(default="triplets", description="what to make")
    images: Literal["photos", "frames"] = Field(
        default="frames", description="what the images in a folder are: single photos, or the frames of a video"
    )
    per_photo: int = Field(default=1, ge=1, description="blurry versions of each photo")
    seed: int = Field(default=0, description="seed of everything random")
    blur: BlurConfig = Field(default=BlurConfig(), description="blur of photos")
    video: VideoBlurConfig = Field(default=VideoBlurConfig(), description="blur of videos")


@dataclass
class Made:
    """What became of one photo or video: rows of the manifest, remarks, and the error that ended it."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    remarks: list[str] = field(default_factory=list[str])
    error: str | None = None


@dataclass
class Summary:
    """Images made and kept from earlier runs, remarks on the sources, and errors."""

    made: int = 0
    kept: int = 0
    remarks: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])


def folders(kind: Kind, levels: int) -> tuple[str, ...]:
    """Folders of a set, sharp first, then from the weakest blur to the strongest.

    >>> folders("pairs", 2), folders("triplets", 2), folders("triplets", 3)
    (('sharp', 'blur'), ('sharp', 'weak', 'strong'), ('sharp', 'level1', 'level2', 'level3'))
    """
    if kind == "pairs":
        return ("sharp", "blur")
    return ("sharp", "weak", "strong") if levels == 2 else ("sharp", *(f"level{n}" for n in range(1, levels + 1)))


def plan_synthetic(
    photos: Iterable[Path], per_photo: int, seed: int, *, leave_out: Path | None = None
) -> list[SyntheticImage]:
    """What to make of photos and folders of photos: ``SCENE/000001.png``, one scene a photo.

    An image's seed depends on ``seed``, the photo's name and the version alone, so adding photos changes no other.
    ``a.jpg`` and ``a.png`` are two scenes. Raises UserError for two photos of one name in different folders.
    """
    sources: dict[Path, Path] = {}
    for source, relative in (pair for path in photos for pair in find_images(path, leave_out=leave_out)):
        if (other := sources.setdefault(relative, source)) != source:
            raise UserError(
                f"{other} and {source} would both become {relative.stem}: rename one, or give the folder they share"
            )
    planned: list[SyntheticImage] = []
    scenes = distinct_stems([Path("-".join(relative.parts)) for relative in sources])
    for source, scene in zip(sources.values(), map(str, scenes), strict=True):
        key = int.from_bytes(hashlib.sha256(os.fsencode(scene)).digest()[:6], "big")
        planned += [
            SyntheticImage(source, f"{scene}/{version + 1:06d}.png", scene, (seed, key, version))
            for version in range(per_photo)
        ]
    return planned


def synthesize(inputs: Iterable[Path], output: Path, config: SetConfig, *, workers: int | None = None) -> Summary:
    """Write the folders of a set (see ``folders``), its manifest and a contact sheet ``sheet.png``.

    ``inputs`` are video files, photos, and folders of either. The work runs in ``workers`` processes, by default one
    per core. Results of an earlier run with the same settings are kept. A source that cannot be read is reported, and
    the others go on. Raises UserError where the folder was made with other settings or another run works in it.
    """
    levels = 1 if config.kind == "pairs" else config.video.levels
    video_blur = config.video.model_copy(update={"levels": levels})
    video_paths, photos = _sort_inputs(inputs, config.images)
    planned = plan_synthetic(photos, config.per_photo, config.seed, leave_out=output)
    videos = find_videos(video_paths, leave_out=output, of_frames=config.images == "frames")
    settings: dict[str, Any] = {"kind": config.kind, "folders": folders(config.kind, levels)}
    settings |= {"blur": config.blur.model_dump(mode="json")} if photos else {}
    settings |= {"video": video_blur.model_dump(mode="json")} if video_paths else {}
    summary = Summary()
    with folder_lock(output), Manifest(output, settings) as manifest:
        whole = {row["name"]: row for row in manifest.whole}
        sources = {image.name: image.source for image in planned} | {video.name: video.path for video in videos}
        for row in manifest.whole:
            if row.get("seed", [config.seed])[0] != config.seed:
                raise UserError(f"{output} was made with seed {row['seed'][0]}: take that, or another folder")
            source = sources.get(row["name"])
            if source is not None and row.get("source") != str(source):
                raise UserError(f"{source} has the name of {row.get('source')}, of which {output} was made before")
        finished = _finished(manifest.whole)
        kept = [image for image in planned if whole.get(image.name, {}).get("seed") == list(image.seed)]
        summary.kept = len(kept) + sum("window" in row for row in whole.values())
        synthetic_job = partial(make_synthetic, output=output, names=settings["folders"], blur=config.blur)
        video_job = partial(
            make_video, output=output, names=settings["folders"], config=video_blur, whole=frozenset(whole)
        )
        with (
            worker_pool(workers) as pool,
            Progress(config.kind, len(planned) - len(kept) + len(videos)) as progress,
        ):
            done = {image.name for image in kept} | finished
            jobs = [pool.submit(synthetic_job, image) for image in planned if image.name not in done]
            jobs += [pool.submit(video_job, video) for video in videos if video.name not in done]
            for job in as_completed(jobs):
                made = job.result()
                manifest.add(made.rows)
                summary.made += sum("files" in row and bool(row["files"]) for row in made.rows)
                summary.remarks += made.remarks
                summary.errors += [made.error] if made.error else []
                progress.advance()
    summary.errors.sort()
    write_sheet(output)
    return summary


def _finished(rows: Iterable[dict[str, Any]]) -> set[str]:
    """Names of the videos whose windows are all there and whole."""
    rows = list(rows)
    windows = Counter(row.get("video") for row in {row["name"]: row for row in rows}.values() if "window" in row)
    return {row["name"] for row in rows if "windows" in row and windows[row["name"]] == row["windows"]}


def _sort_inputs(inputs: Iterable[Path], images: Literal["photos", "frames"]) -> tuple[list[Path], list[Path]]:
    """Videos and photos among the inputs; a folder is searched for what ``images`` says, and for videos."""
    videos: list[Path] = []
    photos: list[Path] = []
    for path in inputs:
        video = is_video_name(path) and path.is_file()
        if images == "frames" or video:
            videos.append(path)
            continue
        holds_videos = path.is_dir() and any(is_video_name(file) for file in path.rglob("*"))
        videos += [path] if holds_videos else []
        if not holds_videos or any(is_image_name(file) for file in path.rglob("*")):
            photos.append(path)
    return videos, photos


def make_synthetic(image: SyntheticImage, *, output: Path, names: Sequence[str], blur: BlurConfig) -> Made:
    """Write the images of one photo; whatever goes wrong becomes its error."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    made = Made()
    try:
        rng = np.random.default_rng(image.seed)
        levels, sharp, record = blur_levels(read_rgb8(image.source), blur, rng, levels=len(names) - 1)
        files = {f"{folder}/{image.name}": _write(output / folder / image.name, pixels)
                 for folder, pixels in zip(names, [sharp, *levels], strict=True)}  # fmt: skip
    except Exception as error:  # whatever it is, the other photos go on
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
    """Write the images of one video, less those whose names are in ``whole``; an error keeps what was finished."""
    cv2.setNumThreads(1)
    made = Made()
    pending: list[tuple[dict[str, Any], Future[dict[str, str]]]] = []

    def settle() -> None:
        while pending:
            row, files = pending.pop(0)
            made.rows.append({**row, "files": files.result()})

    number = 0
    with ThreadPoolExecutor(1) as writer:  # averaging and compressing run beside decoding
        try:
            source = {"source": str(video.path)} | ({} if video.frames else {"source_sha256": file_sha256(video.path)})
            for found in video_windows(video, config, made.remarks.append):
                number += 1
                name = f"{video.name}/{number:06d}.png"
                if name in whole:
                    continue
                settle()  # so that two windows of frames are held at most
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
        made.remarks.append(
            f"{video.path} gave no window: it has fewer than {config.min_frames} frames or less than "
            f"{config.min_displacement_px:g} px of motion between cuts"
        )
    return made


def _describe(window: BlurWindow, video: VideoBlurConfig) -> dict[str, Any]:
    """How a window was found and averaged; frame numbers are those of the interpolated video."""
    return {
        "window": [window.start, window.stop],
        "sharp_frame": window.sharp,
        "levels": [list(window.level(level, video.levels)) for level in range(1, video.levels + 1)],
        "displacement_px": round(window.displacement_px, 4),
    }


def _write_window(found: VideoWindow, output: Path, files: Sequence[str]) -> dict[str, str]:
    return {file: _write(output / file, pixels) for file, pixels in zip(files, found.average(), strict=True)}


def _write(path: Path, pixels: NDArray[np.uint8]) -> str:
    """Write an image and return the fingerprint of its file."""
    write_image(path, Image(pixels), fast=True)
    return file_sha256(path)
