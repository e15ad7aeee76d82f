"""The commands that are disturbed: each with tiny inputs, and with what must be the same after any end of it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from clips import Clip, write_clip
from conftest import make_photo
from tfmlc.io.images import Image, write_image

VARIES = {"provenance", "time", "commit", "seconds", "seconds_per_image"}  # of a run, in JSON and CSV
LOGS = "log"  # of tensorboard: names with times, and a resumed run adds to them
SUFFIXES = ("jpg", "png", "tif", "webp")
SMALL = {"name": "hinet", "sizes": {"width": 8, "depth": 3, "normalised_levels": [1, 2]}}


@dataclass(frozen=True)
class Job:
    """A command of tfmlc, given in the folder of a trial.

    Attributes:
        command: The command.
        inputs: Makes its inputs in the folder.
        once: Whether a file that a killed run has finished must not be written again.
    """

    command: tuple[str, ...]
    inputs: Callable[[Path], None]
    once: bool = False


def make_photos(folder: Path, count: int = 6) -> None:
    for number in range(count):
        place = folder / "deeper" if number % 3 == 2 else folder
        photo = np.roll(make_photo(96, 112), 9 * number, axis=1)
        write_image(place / f"{number}.{SUFFIXES[number % len(SUFFIXES)]}", Image(np.ascontiguousarray(photo)))


def photos(folder: Path) -> None:
    make_photos(folder / "in")


def video(folder: Path) -> None:
    """150 frames: two pieces of 60, and a part of one."""
    write_clip(folder / "in.mp4", Clip(width=48, height=32, pts=tuple(range(0, 150 * 512, 512))))


def photos_and_videos(folder: Path) -> None:
    make_photos(folder / "in", 4)
    for name in ("a", "b"):
        write_clip(folder / f"{name}.mp4", Clip(pts=tuple(range(0, 40 * 512, 512)), sound=None))


def make_pairs(folder: Path, count: int = 6) -> None:
    for number in range(count):
        sharp = np.ascontiguousarray(np.roll(make_photo(96, 112), 9 * number, axis=1))
        blurry = np.mean([np.roll(sharp, step, axis=1) for step in range(5)], axis=0)
        write_image(folder / "sharp" / f"{number}.png", Image(sharp))
        write_image(folder / "blur" / f"{number}.png", Image(np.rint(blurry).astype(np.uint8)))


def pairs(folder: Path) -> None:
    make_pairs(folder / "pairs")


def recipe(folder: Path) -> None:
    """A recipe with pairs that are made once, pairs that are cut into crops, a validation and a state every step."""
    make_photos(folder / "in", 3)
    make_pairs(folder / "pairs", 3)
    sources = {
        "made": {"photos": ["in"], "prepare": 4, "prepared_px": 64, "scale": [1.0, 1.0]},
        "real": {"pairs": "pairs", "crop_px": 64, "crop_step_px": 32},
    }
    content = {
        "network": SMALL,
        "data": {"patch_px": 32, "sources": sources},
        "loop": {"steps": 8, "batch_size": 2, "save_every_steps": 1, "warmup_steps": 2, "workers": 1},
        "validation": {"pairs": "pairs", "every_steps": 3, "images": 2, "crop_px": 64},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


SET = ("--workers", "1", "--per-photo", "2", "--min-frames", "5", "--min-displacement-px", "6")
ADAPT = ("mode=token", "hidden=8", "views=2", "epochs=40", "batch_size=4", "augmentation.crop_px=64")
ADAPT += ("count=6", "held_out_fraction=0.4", "sampled_tokens=5", "weights=random")

JOBS = {
    "deblur folder": Job(("deblur", "in", "-o", "out"), photos, once=True),
    "deblur in place": Job(("deblur", "in", "--in-place"), photos, once=True),
    "deblur video": Job(("deblur", "in.mp4", "-o", "out.mp4"), video),
    "deblur ray": Job(("deblur", "in", "-o", "out", "--ray"), photos, once=True),
    "synthesize": Job(("synthesize", "pairs", "a.mp4", "b.mp4", "in", "-o", "set", *SET), photos_and_videos),
    "evaluate": Job(("evaluate", "default", "pairs", "-o", "scores.json", "--save"), pairs),
    "train": Job(("train", "recipe.yaml", "-o", "run"), recipe),
    "adapt": Job(("adapt", "in", "-o", "adapter.safetensors", "--backbone", "alexnet", "--block", "1", *ADAPT), photos),
}


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, with the digest of what must be the same in each run; hidden files are also there."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if LOGS in name.parts:
            continue
        if path.is_file():
            found[str(name)] = hashlib.sha256(_without_what_varies(path)).hexdigest()
        elif not os.listdir(path):  # noqa: PTH208
            found[f"{name}/"] = "an empty folder"
    return found


def _without_what_varies(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(_cleaned(json.loads(path.read_text(encoding="utf-8")))).encode()
    if path.suffix == ".jsonl":  # rows in the order in which workers finished; of the same name the last one counts
        rows: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # a line that was cut off, as ``read_manifest`` leaves it out
                row = json.loads(line)
                rows[str(row.get("name", row.get("pair")))] = row
        return json.dumps(rows, sort_keys=True).encode()
    if path.suffix == ".csv":
        table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
        return json.dumps([_cleaned(row) for row in table]).encode()
    return path.read_bytes()


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(inner) for key, inner in value.items() if key not in VARIES}
    return [_cleaned(inner) for inner in value] if isinstance(value, list) else value
