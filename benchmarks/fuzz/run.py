"""Read many spoiled files: only a user's error is allowed, within 10 s and 4 GB.

python benchmarks/fuzz/run.py KIND FIRST LAST OUTPUT.json      KIND: image, weights, text, video

Cases are numbered; the same number is the same file on every machine. They run in a child process that is watched: one
that hangs, grows or dies is a finding, and the run goes on after it.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fuzz"))

MOST_S, MOST_BYTES, LOOK_S = 10.0, 4 << 30, 0.05


def work(kind: str, first: int, last: int, pipe: Connection) -> None:
    import warnings

    warnings.simplefilter("ignore")
    from readers import KINDS, try_one

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seeds").mkdir()
        (folder / "spoiled").mkdir()
        seeds = KINDS[kind][0](folder / "seeds")
        for number in range(first, last):
            pipe.send((number, None))
            try:
                try_one(kind, seeds, number, folder / "spoiled")
            except BaseException:
                pipe.send((number, traceback.format_exc(limit=-4)))
    pipe.send((last, None))


def run(kind: str, first: int, last: int) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    while first < last:
        here, there = context.Pipe()
        child = context.Process(target=work, args=(kind, first, last, there), daemon=True)
        child.start()
        there.close()
        number, since, why = first - 1, time.monotonic() + 60, ""
        while number < last:
            if here.poll(LOOK_S):
                try:
                    number, found = here.recv()
                except EOFError:
                    why = f"the process died ({child.exitcode})"
                    break
                since = time.monotonic()
                if found:
                    findings.append({"case": number, "why": found})
                    print(f"{kind} {number}: {found.splitlines()[-1][:160]}", flush=True)
            try:
                grown = psutil.Process(child.pid).memory_info().rss > MOST_BYTES
            except psutil.NoSuchProcess:
                grown = False
            if grown or time.monotonic() - since > MOST_S:
                why = "more than 4 GB" if grown else "more than 10 s"
                break
        child.kill()
        child.join()
        if why:
            findings.append({"case": number, "why": why})
            print(f"{kind} {number}: {why}", flush=True)
        first = number + 1
    return findings


def main(kind: str, first: int, last: int, output: Path) -> int:
    from tfmlc.results import write_result

    started = time.monotonic()
    findings = run(kind, first, last)
    seconds = round(time.monotonic() - started)
    write_result(output, {"kind": kind, "first": first, "last": last, "seconds": seconds, "findings": findings})
    print(f"{kind}: {last - first} cases, {len(findings)} findings, {seconds} s")
    return len(findings)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
