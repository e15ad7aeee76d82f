"""Folders of blurry and sharp pairs, in GoPro's layout, with a manifest of how each was made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from tfmlc.data.blur import BlurConfig, blur_still
from tfmlc.errors import UserError
from tfmlc.files import write_atomically
from tfmlc.images import Picture, find_pictures, read_rgb8, write_image
from tfmlc.progress import Steps

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Still:
    """One pair to make of the photo ``source``, under ``name``, with a seed of its own."""

    source: Path
    name: str
    seed: tuple[int, int, int]


def plan_stills(inputs: Iterable[Path], per_photo: int, seed: int) -> list[Still]:
    """The pairs to make from photos and folders of photos: ``SCENE/000001.png``, one scene a photo.

    A pair's seed depends on ``seed``, the photo's name and the version alone, so adding photos changes no
    other pair.
    """
    stills: list[Still] = []
    scenes: dict[str, Path] = {}
    for source, relative in (pair for path in inputs for pair in find_pictures(path)):
        scene = "-".join(relative.with_suffix("").parts)
        if (other := scenes.setdefault(scene, source)) != source:
            raise UserError(f"{other} and {source} have the same name; give the folder they share")
        key = int.from_bytes(hashlib.sha256(scene.encode()).digest()[:6], "big")
        names = [f"{scene}/{version + 1:06d}.png" for version in range(per_photo)]
        stills += [Still(source, name, (seed, key, version)) for version, name in enumerate(names)]
    return stills


def synthesize_pairs(
    inputs: Iterable[Path],
    output: Path,
    blur: BlurConfig,
    *,
    per_photo: int = 1,
    seed: int = 0,
    workers: int | None = None,
) -> tuple[int, int, list[str]]:
    """Write ``output/blur``, ``output/sharp`` and the manifest; return pairs made, pairs kept, errors.

    Runs in ``workers`` processes (default one a core). A pair that an earlier run with the same settings
    finished is kept; a folder made with other settings is refused. A photo that cannot be read is reported
    and the others go on.
    """
    stills = plan_stills(inputs, per_photo, seed)
    settings = blur.model_dump(mode="json")
    done = _finished(output, settings, stills)
    todo = [still for still in stills if still.name not in done]
    errors: list[str] = []
    made = 0
    make = partial(_make_pair, output=output, blur=blur)
    with (
        _open_manifest(output, settings) as manifest,
        ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool,
        Steps("pairs", len(todo)) as progress,
    ):
        for future in as_completed([pool.submit(make, still) for still in todo]):
            progress.advance()
            try:
                row = future.result()
            except UserError as error:
                errors.append(str(error))
                continue
            manifest.write(json.dumps(row) + "\n")
            manifest.flush()
            made += 1
    return made, len(stills) - len(todo), sorted(errors)


def _make_pair(still: Still, *, output: Path, blur: BlurConfig) -> dict[str, Any]:
    cv2.setNumThreads(1)  # the processes are the parallelism
    rng = np.random.default_rng(still.seed)
    blurry, sharp, record = blur_still(read_rgb8(still.source), blur, rng)
    hashes: dict[str, str] = {}
    for folder, pixels in (("sharp", sharp), ("blur", blurry)):
        path = output / folder / still.name
        write_image(path, Picture(pixels))
        hashes[f"{folder}_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "name": still.name,
        "source": str(still.source),
        "seed": list(still.seed),
        "strength_px": round(record.strength_px, 3),
        "light": record.light,
        "moving_patches": record.moving_patches,
        "trajectory": np.round(record.trajectory.poses, 6).tolist(),
        **hashes,
    }


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and rows of a folder's manifest; a last line that was cut off by an interruption is left out."""
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = []
    for line in lines:
        try:
            rows.append(cast("dict[str, Any]", json.loads(line)))
        except json.JSONDecodeError:
            continue
    if not rows or "settings" not in rows[0]:
        raise UserError(f"{folder / MANIFEST} is not a manifest of tfmlc: remove it or choose another folder")
    return rows[0]["settings"], rows[1:]


def _finished(output: Path, settings: dict[str, Any], stills: list[Still]) -> set[str]:
    """Names of the pairs that an earlier run finished and that are still whole."""
    if not (output / MANIFEST).exists():
        return set()
    earlier, rows = read_manifest(output)
    if earlier != settings:
        changed = ", ".join(key for key in settings if settings[key] != earlier.get(key))
        raise UserError(f"{output} was made with other settings ({changed}): choose another folder")
    seeds = {still.name: list(still.seed) for still in stills}
    return {row["name"] for row in rows if row["seed"] == seeds.get(row["name"]) and _is_whole(output, row)}


def _is_whole(output: Path, row: dict[str, Any]) -> bool:
    for folder in ("sharp", "blur"):
        path = output / folder / row["name"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != row[f"{folder}_sha256"]:
            return False
    return True


def _open_manifest(output: Path, settings: dict[str, Any]) -> Any:
    path = output / MANIFEST
    if not path.exists():
        write_atomically(path, (json.dumps({"settings": settings}) + "\n").encode())
    elif not path.read_bytes().endswith(b"\n"):  # a row that an interruption cut off must not swallow the next one
        with path.open("a", encoding="utf-8") as cut:
            cut.write("\n")
    return path.open("a", encoding="utf-8")
