"""Runs of a command in a folder, undisturbed or killed at one point, and the comparison of what they leave.

A run is a process of its own group, forked from this one, which has imported the packages before: their import takes
seconds and touches no file of the user. Everything from the reading of the command line on is the program's own.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from jobs import Job, content

HERE = Path(__file__).resolve().parent
HOOK = HERE / "hook" / "sitecustomize.py"
SOURCES = HERE.parents[1] / "src"
IN_START = 0.06  # the part of the kills that falls between the start and the first operation on a file
LONGEST_S = 1800.0
KILLED = -9
IMPORTED = (
    *("deblur.batch", "deblur.deblurrer", "deblur.clustered", "deblur.strength", "io.video.by_pyav"),
    *("data.synthesis.sets", "evaluation.evaluate", "evaluation.show", "reproduce.paper", "evaluation.plots"),
    *("training.train", "training.adapt", "training.presets"),
)


@dataclass(frozen=True)
class Done:
    """How a run ended: its exit status, and what it printed."""

    status: int
    said: str


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: its files, how long it took, and when each process worked on files.

    ``gaps`` are, for each process, the seconds from one operation to the next; the first is from the start.
    """

    files: dict[str, str]
    seconds: float
    gaps: list[list[float]] = field(default_factory=list[list[float]])


def import_all() -> None:
    for name in (
        "tfmlc.cli.commands",
        *(f"tfmlc.{name}" for name in IMPORTED),
        "torch.utils.tensorboard",
        "matplotlib.pyplot",
    ):
        importlib.import_module(name)


def in_child(work: Callable[[], None], said: Path) -> int:
    """Do some work in a forked process; return its exit status."""

    def begin() -> None:
        os.setpgid(0, 0)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.modules["__main__"] = ModuleType("__main__")  # workers that are spawned would start this script
        work()

    process = multiprocessing.get_context("fork").Process(target=begin)
    process.start()
    process.join(LONGEST_S)
    if process.exitcode is None:
        process.kill()
        sys.exit(f"still running after {LONGEST_S} s")
    return process.exitcode


def run(folder: Path, command: tuple[str, ...], **hook: object) -> Done:
    """Run a command of tfmlc in a folder; ``hook`` says what the hook does."""

    def work() -> None:
        variables = {"FOLDER": folder, "GROUP": os.getpid(), **hook}
        os.environ.update({f"FAULTS_{name}": str(value) for name, value in variables.items()})
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HOOK.parent), str(SOURCES)])  # of workers
        os.chdir(folder)
        sys.argv = ["tfmlc", *command]
        spec = importlib.util.spec_from_file_location("hook", HOOK)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        from tfmlc.cli import main

        main()

    with tempfile.TemporaryDirectory(prefix="faults-said-") as place:
        said = Path(place) / "said"
        return Done(in_child(work, said), said.read_text(encoding="utf-8", errors="replace"))


def undisturbed(work: Path, job: Job) -> Undisturbed:
    folder, log = work / "undisturbed", work / "log"
    shutil.copytree(work / "inputs", folder)
    started = time.monotonic()
    finished(run(folder, job.command, LOG=log))
    seconds = time.monotonic() - started
    times: dict[str, list[float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        process, moment, *_ = line.split(" ", 3)
        times.setdefault(process, [started]).append(float(moment))
    gaps = [[after - before for before, after in pairwise(row)] for row in times.values()]
    return Undisturbed(content(folder), seconds, gaps)


def finished(done: Done) -> str:
    if done.status:
        sys.exit(f"exit status {done.status}\n{done.said}")
    return done.said


def moment(whole: Undisturbed, chance: random.Random) -> dict[str, object]:
    """Draw where a kill falls: half right before an operation on a file, half between it and the next one."""
    gaps = chance.choices(whole.gaps, weights=[len(row) for row in whole.gaps])[0]
    if chance.random() < IN_START:
        return {"AT": 0, "DELAY_S": chance.uniform(0.001, whole.gaps[0][0])}
    number = chance.randrange(len(gaps))
    after = gaps[number + 1] if number + 1 < len(gaps) else 0.1
    return {"AT": number + 1, "DELAY_S": chance.choice((0.0, chance.uniform(0.001, max(0.002, after))))}


def one_round(work: Path, job: Job, whole: Undisturbed, chance: random.Random, most: int) -> tuple[Counter[str], str]:
    """Kill runs in one folder, let one end, and compare.

    A run that comes to its end before the kill ends the round.

    Returns:
        Counts of kills, and what is wrong at the end; empty if nothing is.
    """
    folder = work / "trial"
    shutil.copytree(work / "inputs", folder)
    counts, drawn, wrong = Counter[str](), list[str](), dict[str, str]()
    while True:
        finished = identities(folder, whole) if job.once else {}
        where = moment(whole, chance) if counts["kills"] < most else {}
        done = run(folder, job.command, **where)
        wrong |= {name: "written again" for name, mark in finished.items() if identity(folder / name) != mark}
        drawn.append(f"{where} -> {done.status}")
        if done.status != KILLED:
            break
        counts["kills"] += 1
        counts["in_start"] += where["AT"] == 0
    wrong |= differences(whole.files, content(folder)) | ({"exit status": str(done.status)} if done.status else {})
    if not wrong:
        shutil.rmtree(folder)
        return counts, ""
    kept = Path(tempfile.mkdtemp(prefix="faults-kept-"))
    shutil.move(folder, kept)
    return counts, "\n".join([str(wrong), f"kept in {kept}", *drawn, done.said])


def identities(folder: Path, whole: Undisturbed) -> dict[str, tuple[int, int]]:
    """The identity of each file that is as it must be at the end."""
    return {name: identity(folder / name) for name, found in content(folder).items() if whole.files.get(name) == found}


def identity(path: Path) -> tuple[int, int]:
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else (0, 0)


def differences(wanted: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """Say of each file that is not as wanted whether it is missing, changed or left over."""
    return {
        name: "missing" if name not in found else "changed" if name in wanted else "left over"
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }


def make_inputs(job: Job, folder: Path) -> None:
    """Make the inputs of a job in a process of its own, whose threads end with it."""
    folder.mkdir(parents=True)
    said = folder.parent / "made"
    if in_child(lambda: job.inputs(folder), said):
        sys.exit(said.read_text(encoding="utf-8"))
