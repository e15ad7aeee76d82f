"""Other faults than kills: a full disk, a cache that cannot be written, a worker that dies, a clock that jumps.

OMP_NUM_THREADS=1 python benchmarks/faults/others.py [FAULT...] [--output FILE]

FAULT is one of disk, cache, worker, clock; by default all. A command must end with an exit status and lines without a
traceback, and the next run must leave the files of a run that nobody disturbed. Disk and cache need the right to mount
a tmpfs; without it they are skipped. The rows are added to results/faults/others.json, in place of those of the same
fault.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from jobs import JOBS, Job, content
from trial import SOURCES, Done, Undisturbed, differences, identities, import_all, make_inputs, moment, run, undisturbed

from tfmlc.results import write_result

RESULT = Path(__file__).resolve().parents[2] / "results" / "faults" / "others.json"
YEAR_S = 365 * 24 * 3600
WORKERS = {  # a command with workers, and what the command line of one contains
    "synthesize": (("--workers", "2"), "spawn_main"),
    "train": ((), "others.py"),
    "deblur ray": ((), "ray::Map"),
}
Row = dict[str, Any]


@contextmanager
def tmpfs(place: Path, options: str) -> Generator[None]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def row_of(case: str, done: Done, folder: Path, whole: Undisturbed, job: Job) -> Row:
    """Say how a disturbed command ended, and what differs after the next run; ``folder`` must allow that run."""
    row: Row = {"case": case, "status": done.status, "lines": len(done.said.splitlines())}
    row |= {"last": done.said.splitlines()[-1] if done.said else "", "traceback": "Traceback" in done.said}
    again = run(folder, job.command)
    row |= {"next_status": again.status, "differences": differences(whole.files, content(folder))}
    if row["traceback"] or row["next_status"] or row["differences"]:
        print(f"{case}\n{done.said}\n{again.said}", flush=True)
    return row


def disk(work: Path, name: str) -> Generator[Row]:
    """The disk is full after a part of what a run writes; then it is larger."""
    job, whole = JOBS[name], undisturbed(work, JOBS[name])
    size, inputs = (sum(_stored(path) for path in (work / part).rglob("*")) for part in ("undisturbed", "inputs"))
    for part in (0.15, 0.7):
        limit = int(inputs + part * (size - inputs))
        small = work / "small"
        with tmpfs(small, f"size={limit}"):
            folder = small / "trial"
            shutil.copytree(work / "inputs", folder)
            done = run(folder, job.command)
            subprocess.run(["mount", "-o", "remount,size=256m", str(small)], check=True)
            yield row_of(f"{part:.0%} of what it writes fits", done, folder, whole, job)
        small.rmdir()


def _stored(path: Path) -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    return -(-path.stat().st_size // page) * page if path.is_file() else 0


def cache(work: Path, name: str) -> Generator[Row]:
    """Home and caches cannot be written; a whole Python, because packages look for their caches when imported."""
    job, whole = JOBS[name], undisturbed(work, JOBS[name])
    folder, home = work / "trial", work / "home"
    shutil.copytree(work / "inputs", folder)
    with tmpfs(home, "ro,size=1m"):
        places = {name: str(home / name.lower()) for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME")}
        environment = {**os.environ, "HOME": str(home), **places, "PYTHONPATH": str(SOURCES)}
        command = [sys.executable, "-m", "tfmlc.cli", *job.command]
        with (work / "said").open("w+") as said:
            status = subprocess.run(
                command, cwd=folder, env=environment, stdout=said, stderr=said, check=False
            ).returncode
    done, first = Done(status, (work / "said").read_text()), differences(whole.files, content(folder))
    yield {**row_of("home and caches are read-only", done, folder, whole, job), "first": first}


def worker(work: Path, name: str) -> Generator[Row]:
    """A worker is killed in the middle."""
    more, sign = WORKERS[name]
    job, whole = JOBS[name], undisturbed(work, JOBS[name])
    folder = work / "trial"
    shutil.copytree(work / "inputs", folder)
    killer = threading.Thread(target=_kill_worker, args=(sign, folder), daemon=True)
    killer.start()
    done = run(folder, (*job.command, *more))
    yield row_of("a worker is killed", done, folder, whole, job)


def _kill_worker(sign: str, folder: Path) -> None:
    """Kill a process below this one's children that has ``sign`` in its command, after the first files are there."""
    before = len(list(folder.rglob("[!.]*")))
    while True:
        time.sleep(0.02)
        with suppress(psutil.NoSuchProcess):
            runs = psutil.Process().children()
            workers = [found for child in runs for found in child.children(recursive=True) if sign in _command(found)]
            if workers and len(list(folder.rglob("[!.]*"))) > before:
                workers[-1].kill()
                return


def _command(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""


def clock(work: Path, name: str) -> Generator[Row]:
    """The clock is set a year back or forward after a kill: the files until then get times that are as far away."""
    job, whole = JOBS[name], undisturbed(work, JOBS[name])
    for case, shift_s in (("a year back", YEAR_S), ("a year forward", -YEAR_S)):
        folder = work / case.replace(" ", "-")
        shutil.copytree(work / "inputs", folder)
        inputs = set(folder.rglob("*"))
        for path in inputs:
            os.utime(path, (path.stat().st_mtime + shift_s,) * 2)
        where = moment(whole, random.Random(f"{name} {case}"))
        done = run(folder, job.command, **where)
        for path in set(folder.rglob("*")) - inputs:
            os.utime(path, (path.stat().st_mtime + shift_s,) * 2)
        row = row_of(f"the clock is set {case}", done, folder, whole, job)
        finished = identities(folder, whole) if job.once else {}
        run(folder, job.command)
        yield {**row, "again": identities(folder, whole) != finished if job.once else False}


FAULTS: dict[str, tuple[Callable[[Path, str], Generator[Row]], tuple[str, ...]]] = {
    "clock": (clock, ("deblur folder", "synthesize", "evaluate", "train", "deblur video")),
    "disk": (disk, ("deblur folder", "synthesize", "train", "evaluate", "adapt", "deblur video")),
    "worker": (worker, ("synthesize", "train", "deblur ray")),
    "cache": (cache, ("deblur folder", "evaluate", "adapt")),
}


def rows_of(fault: str, jobs: tuple[str, ...]) -> Generator[Row]:
    for name in jobs:
        with tempfile.TemporaryDirectory(prefix="faults-") as place:
            make_inputs(JOBS[name], Path(place) / "inputs")
            try:
                for row in FAULTS[fault][0](Path(place), name):
                    yield {"fault": fault, "job": name, **row}
            except subprocess.CalledProcessError as error:  # no right to mount
                print(f"{fault}, {name}: skipped: {error.stderr}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--jobs", nargs="*", help="only these")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    import_all()
    wrong = 0
    for fault in options.faults or FAULTS:
        jobs = tuple(name for name in FAULTS[fault][1] if name in (options.jobs or JOBS))
        for row in rows_of(fault, jobs):
            print(json.dumps(row), flush=True)
            wrong += bool(row["traceback"] or row["next_status"] or row["differences"])
            rows = json.loads(options.output.read_text())["rows"] if options.output.exists() else []
            rows = [other for other in rows if any(other[key] != row[key] for key in ("fault", "job", "case"))]
            write_result(options.output, {"rows": [*rows, row]})
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main()))
