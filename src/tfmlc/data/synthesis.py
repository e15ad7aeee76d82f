"""Folders of pairs and triplets from photos and films, with a manifest of how each picture was made."""

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

from tfmlc.data.blur import BlurConfig, blur_levels
from tfmlc.data.films import FilmConfig, FilmWindow, film_windows
from tfmlc.data.manifest import Manifest, distinct_stems, file_sha256
from tfmlc.data.sheet import write_sheet
from tfmlc.data.windows import BlurWindow
from tfmlc.errors import UserError, in_one_line
from tfmlc.images import Picture, find_pictures, is_image_name, read_rgb8, write_image
from tfmlc.locks import folder_lock
from tfmlc.processes import worker_pool
from tfmlc.progress import Steps
from tfmlc.video import Clip, find_clips, is_video_name

Kind = Literal["pairs", "triplets"]


@dataclass(frozen=True)
class Still:
    """A photo to blur, under ``name``, with a seed of its own; ``clip`` is what its versions share."""

    source: Path
    name: str
    clip: str
    seed: tuple[int, int, int]


@dataclass
class Made:
    """What became of one photo or film: rows of the manifest, remarks, and the error that ended it."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    remarks: list[str] = field(default_factory=list[str])
    error: str | None = None


@dataclass
class Summary:
    """Pictures made and kept from earlier runs, remarks on the sources, and errors."""

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


def plan_stills(photos: Iterable[Path], per_photo: int, seed: int, *, leave_out: Path | None = None) -> list[Still]:
    """What to make of photos and folders of photos: ``SCENE/000001.png``, one scene a photo.

    A still's seed depends on ``seed``, the photo's name and the version alone, so adding photos changes no other.
    ``a.jpg`` and ``a.png`` are two scenes. Raises UserError for two photos of one name in different folders.
    """
    sources: dict[Path, Path] = {}
    for source, relative in (pair for path in photos for pair in find_pictures(path, leave_out=leave_out)):
        if (other := sources.setdefault(relative, source)) != source:
            raise UserError(
                f"{other} and {source} would both become {relative.stem}: rename one, or give the folder they share"
            )
    stills: list[Still] = []
    scenes = distinct_stems([Path("-".join(relative.parts)) for relative in sources])
    for source, scene in zip(sources.values(), map(str, scenes), strict=True):
        key = int.from_bytes(hashlib.sha256(os.fsencode(scene)).digest()[:6], "big")
        stills += [
            Still(source, f"{scene}/{version + 1:06d}.png", scene, (seed, key, version)) for version in range(per_photo)
        ]
    return stills


def synthesize(
    kind: Kind,
    inputs: Iterable[Path],
    output: Path,
    *,
    pictures: Literal["photos", "frames"],
    blur: BlurConfig | None = None,
    film: FilmConfig | None = None,
    per_photo: int = 1,
    seed: int = 0,
    workers: int | None = None,
) -> Summary:
    """Write the folders of a set (see ``folders``), its manifest and a contact sheet ``sheet.png``.

    Video files are films; pictures are photos to be shaken (``blur``) or the frames of films (``film``). Runs in
    ``workers`` processes, by default one a core. What an earlier run with the same settings finished is kept; a
    folder made with other settings is refused, so is one in which another run is at work. A source that cannot be
    read is reported and the others go on.
    """
    blur, film = blur or BlurConfig(), film or FilmConfig()
    if kind == "pairs":
        film = film.model_copy(update={"levels": 1})
    films, photos = _sort_inputs(inputs, pictures)
    stills = plan_stills(photos, per_photo, seed, leave_out=output)
    clips = find_clips(films, leave_out=output, of_frames=pictures == "frames")
    settings: dict[str, Any] = {"kind": kind, "folders": folders(kind, film.levels)}
    settings |= {"blur": blur.model_dump(mode="json")} if photos else {}
    settings |= {"film": film.model_dump(mode="json")} if films else {}
    summary = Summary()
    with folder_lock(output), Manifest(output, settings) as manifest:
        whole = {row["name"]: row for row in manifest.whole}
        sources = {still.name: still.source for still in stills} | {clip.name: clip.path for clip in clips}
        for row in manifest.whole:
            if row.get("seed", [seed])[0] != seed:
                raise UserError(f"{output} was made with seed {row['seed'][0]}: take that, or another folder")
            source = sources.get(row["name"])
            if source is not None and row.get("source") != str(source):
                raise UserError(f"{source} has the name of {row.get('source')}, of which {output} was made before")
        finished = _finished(manifest.whole)
        kept = [still for still in stills if whole.get(still.name, {}).get("seed") == list(still.seed)]
        summary.kept = len(kept) + sum("window" in row for row in whole.values())
        still_job = partial(make_still, output=output, names=settings["folders"], blur=blur)
        film_job = partial(make_film, output=output, names=settings["folders"], film=film, whole=frozenset(whole))
        with (
            worker_pool(workers) as pool,
            Steps(kind, len(stills) - len(kept) + len(clips)) as progress,
        ):
            done = {still.name for still in kept} | finished
            jobs = [pool.submit(still_job, still) for still in stills if still.name not in done]
            jobs += [pool.submit(film_job, clip) for clip in clips if clip.name not in done]
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
    """Names of the films whose windows are all there and whole."""
    rows = list(rows)
    windows = Counter(row.get("clip") for row in {row["name"]: row for row in rows}.values() if "window" in row)
    return {row["name"] for row in rows if "windows" in row and windows[row["name"]] == row["windows"]}


def _sort_inputs(inputs: Iterable[Path], pictures: Literal["photos", "frames"]) -> tuple[list[Path], list[Path]]:
    """Films and photos among the inputs; a folder is searched for what ``pictures`` says, and for videos."""
    films: list[Path] = []
    photos: list[Path] = []
    for path in inputs:
        video = is_video_name(path) and path.is_file()
        if pictures == "frames" or video:
            films.append(path)
            continue
        holds_films = path.is_dir() and any(is_video_name(file) for file in path.rglob("*"))
        films += [path] if holds_films else []
        if not holds_films or any(is_image_name(file) for file in path.rglob("*")):
            photos.append(path)
    return films, photos


def make_still(still: Still, *, output: Path, names: Sequence[str], blur: BlurConfig) -> Made:
    """Write the pictures of one photo; whatever goes wrong becomes its error."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    made = Made()
    try:
        rng = np.random.default_rng(still.seed)
        levels, sharp, record = blur_levels(read_rgb8(still.source), blur, rng, levels=len(names) - 1)
        files = {f"{folder}/{still.name}": _write(output / folder / still.name, pixels)
                 for folder, pixels in zip(names, [sharp, *levels], strict=True)}  # fmt: skip
    except Exception as error:  # whatever it is, the other photos go on
        made.error = in_one_line(error, still.source)
        return made
    row = {
        "name": still.name,
        "clip": still.clip,
        "source": str(still.source),
        "seed": list(still.seed),
        "strength_px": round(record.strength_px, 3),
        "light": record.light,
        "moving_patches": record.moving_patches,
        "trajectory": np.round(record.trajectory.poses, 6).tolist(),
        "files": files,
    }
    made.rows.append(row)
    return made


def make_film(clip: Clip, *, output: Path, names: Sequence[str], film: FilmConfig, whole: frozenset[str]) -> Made:
    """Write the pictures of one film, less those whose names are in ``whole``; an error keeps what was finished."""
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
            source = {"source": str(clip.path)} | ({} if clip.frames else {"source_sha256": file_sha256(clip.path)})
            for found in film_windows(clip, film, made.remarks.append):
                number += 1
                name = f"{clip.name}/{number:06d}.png"
                if name in whole:
                    continue
                settle()  # so that two windows of frames are held at most
                files = writer.submit(_write_window, found, output, [f"{folder}/{name}" for folder in names])
                pending.append(({"name": name, "clip": clip.name, **source, **_describe(found.window, film)}, files))
            settle()
        except Exception as error:
            made.error = in_one_line(error, clip.path)
            try:
                settle()
            except Exception as second:
                made.error = in_one_line(second, clip.path)
            return made
    made.rows.append({"name": clip.name, **source, "windows": number, "files": {}})
    if number == 0:
        made.remarks.append(
            f"{clip.path} gave no window: it has fewer than {film.min_frames} frames or less than "
            f"{film.min_displacement_px:g} px of motion between cuts"
        )
    return made


def _describe(window: BlurWindow, film: FilmConfig) -> dict[str, Any]:
    """How a window was found and averaged; frame numbers are those of the interpolated film."""
    return {
        "window": [window.start, window.stop],
        "sharp_frame": window.sharp,
        "levels": [list(window.level(level, film.levels)) for level in range(1, film.levels + 1)],
        "displacement_px": round(window.displacement_px, 4),
    }


def _write_window(found: FilmWindow, output: Path, files: Sequence[str]) -> dict[str, str]:
    return {file: _write(output / file, pixels) for file, pixels in zip(files, found.average(), strict=True)}


def _write(path: Path, pixels: NDArray[np.uint8]) -> str:
    """Write a picture and return the fingerprint of its file."""
    write_image(path, Picture(pixels), fast=True)
    return file_sha256(path)
