"""What the same commands cost in an earlier state of this repository and now.

git worktree add ../earlier 25ec568
python benchmarks/against_earlier.py ../earlier ../shared/data -o results/bench/before-after.json

The commands run by turns, each in a process of its own; the fastest run counts. The files of both states are read from
their folders ``src``, with the packages of this environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from tfmlc.bench.measure import timed
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = "from tfmlc.cli import main; main()"
FRAME = """
import sys, time, numpy, torch
from tfmlc.deblur import Deblurrer
from tfmlc.networks import build_network
name, precision, sizes = sys.argv[1], sys.argv[2], {"width": 64} if sys.argv[1] == "hinet" else {}
torch.manual_seed(0)
deblur = Deblurrer(build_network(name, **sizes), device="cpu", precision=precision)
deblur = getattr(deblur, "unguarded", lambda: deblur)()
frame = numpy.random.default_rng(0).integers(0, 256, (720, 1280, 3), numpy.uint8)
for _ in range(2):
    started = time.perf_counter()
    deblur(frame)
print(time.perf_counter() - started)
"""
REPEATS = 3


@dataclass(frozen=True)
class Work:
    """What is measured: its title, the arguments of a process, and whether that process prints the seconds itself."""

    title: str
    arguments: list[str]
    prints: bool = False


def works(data: Path, folder: Path) -> list[Work]:
    """All that is measured; ``OUT`` stands for a new folder."""
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(photos / f"{number}.jpg"), cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC))
    program = ["-c", PROGRAM]
    test, sharp, cups = (str(data / name) for name in ("pairs_test", "sharp_eval/kodak24", "video/cups.mp4"))
    found = [
        Work("tfmlc --help", [*program, "--help"]),
        Work("tfmlc deblur, 1 photo of 0.3 megapixels", [*program, "deblur", str(photos / "0.jpg"), "-o", "OUT/0.jpg"]),
        Work("tfmlc deblur, 20 photos", [*program, "deblur", str(photos), "-o", "OUT"]),
        Work("tfmlc synthesize triplets, cups.mp4", [*program, "synthesize", "triplets", cups, "-o", "OUT"]),
        Work("tfmlc synthesize pairs, 24 photos", [*program, "synthesize", "pairs", sharp, "-o", "OUT"]),
        Work(
            "tfmlc evaluate blurry, 6 pairs, with DISTS",
            [*program, "evaluate", "blurry", test, "-o", "OUT/s.json", "--metrics", "dists"],
        ),
    ]
    return found + [
        Work(f"{name}, 1280x720, {precision}", ["-c", FRAME, name, precision], prints=True)
        for name in ("hinet", "nafnet")
        for precision in ("fp32", "auto")
    ]


def seconds_of(work: Work, tree: Path) -> float:
    """Run a piece of work with the files of a state."""
    with tempfile.TemporaryDirectory() as out:
        arguments = [argument.replace("OUT", out) for argument in work.arguments]
        environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
        command = [sys.executable, *arguments]
        done, seconds = timed(
            lambda: subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        )
    return float(done.stdout.split()[-1]) if work.prints else seconds


def main(earlier: Path, data: Path, output: Annotated[Path, typer.Option("-o", "--output")]) -> None:
    """Measure both states and write the results."""
    commit = subprocess.run(
        ["git", "-C", str(earlier), "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        todo = works(data.resolve(), Path(name))
        with Progress("commands", len(todo)) as progress:
            for work in todo:
                best = [float("inf")] * 2
                for _ in range(REPEATS):
                    found = [seconds_of(work, tree) for tree in (earlier, REPOSITORY)]
                    best = [min(pair) for pair in zip(best, found, strict=True)]
                before, now = (round(value, 3) for value in best)
                rows.append(
                    {"what": work.title, "before_s": before, "now_s": now, "times_faster": round(before / now, 2)}
                )
                print(rows[-1], flush=True)
                progress.advance()
    write_result(output, {"earlier": commit, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
