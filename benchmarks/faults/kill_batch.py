"""Kills folder runs of tfmlc deblur at random moments (kill -9), and looks whether the same command mends all.

python benchmarks/faults/kill_batch.py [--kills 20] [--seed 0] [--photos 24]

Every kill is of a fresh folder, in turn with an output folder and in place. After the second run every photo must be
there, whole, and restored once: the bytes are those of a run that nobody disturbed, what the killed run finished was
not touched again, originals are as they were, and nothing else lies in the folders.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = ("jpg", "png", "tif", "webp", "bmp")
LONGEST_DELAY_S = 0.3  # after the last photo that is waited for: within the next ones
Files = dict[str, str]
Moment = tuple[int, float]  # so many photos finished, and so many seconds more


def make_photos(folder: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(count):
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        place = folder / ("deeper" if number % 3 == 0 else ".")
        place.mkdir(parents=True, exist_ok=True)
        photo = Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC)
        photo.save(place / f"{number}.{SUFFIXES[number % len(SUFFIXES)]}")


def content(folder: Path) -> Files:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def identity(folder: Path, files: Files) -> dict[str, tuple[int, int]]:
    return {name: ((folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns) for name in files}


def command(photos: Path, output: Path | None) -> list[str]:
    where = ["--in-place"] if output is None else ["-o", str(output)]
    return [sys.executable, "-m", "tfmlc.cli", "deblur", str(photos), *where]


def run(photos: Path, output: Path | None) -> str:
    done = subprocess.run(command(photos, output), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{photos}: exit status {done.returncode}\n{done.stderr}")
    return done.stderr


def run_and_kill(photos: Path, output: Path | None, after: Moment) -> bool:
    """Kill a run at some moment; whether it was still alive."""
    count, delay_s = after
    folder = photos if output is None else output
    old = identity(photos, content(photos)) if output is None else {}
    with subprocess.Popen(command(photos, output), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(set(seen(folder).items()) - set(old.items())) < count:
            time.sleep(0.002)
        time.sleep(delay_s)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return killed


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    """What there is of photos while a run is at work."""
    there: dict[str, tuple[int, int]] = {}
    for path in folder.rglob("*.*"):
        with contextlib.suppress(FileNotFoundError):
            if not path.name.startswith(".") and path.is_file():
                there[str(path.relative_to(folder))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return there


def try_once(work: Path, originals: Path, undisturbed: Path, after: Moment, *, in_place: bool) -> str:
    """One kill and what came of it; ends the script where anything is wrong."""
    photos = work / "photos"
    shutil.copytree(originals, photos)
    output = None if in_place else work / "out"
    result = photos if in_place else work / "out"
    before, wanted = content(photos), content(undisturbed)
    killed = run_and_kill(photos, output, after)
    there = content(result) if result.exists() else {}
    finished = {name: digest for name, digest in there.items() if wanted.get(name) == digest}
    half = {name for name in there if name in wanted} - finished.keys()
    if (not in_place and half) or (in_place and any(there[name] != before[name] for name in half)):
        sys.exit(f"not whole after the kill: {sorted(half)}")
    marks = identity(result, finished)
    said = run(photos, output).splitlines()
    restored = {line.split(" -> ")[0] for line in said if " -> " in line}
    problems = {
        "other content than of an undisturbed run": content(result) != wanted,
        "originals changed": not in_place and content(photos) != before,
        "restored again": identity(result, finished) != marks,
        "not each photo once": len(restored) + len(finished) != len(wanted),
    }
    if any(problems.values()):
        extra = sorted(content(result).keys() ^ wanted.keys())
        sys.exit(f"after {after}: {[name for name, wrong in problems.items() if wrong]} {extra}\n{said}")
    leftovers = len(there.keys() - wanted.keys())
    how = "in place" if in_place else "folder"
    state = "killed" if killed else "ended "
    return f"{how:<8} {state} with {len(finished):2} of {len(wanted)} finished, {leftovers} files left over; then all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=24)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        originals, undisturbed = work / "originals", work / "undisturbed"
        make_photos(originals, options.photos, options.seed)
        run(originals, undisturbed)
        for kill in range(options.kills):
            after = moments.randrange(options.photos), moments.uniform(0, LONGEST_DELAY_S)
            trial = work / str(kill)
            print(try_once(trial, originals, undisturbed, after, in_place=kill % 2 == 1), flush=True)
            shutil.rmtree(trial)
    print(f"{options.kills} kills: every photo once, originals whole, nothing left over")


if __name__ == "__main__":
    main()
