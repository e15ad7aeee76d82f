"""Read many spoiled files: only a user's error is allowed, within 10 s of processor time and 4 GB.

python benchmarks/fuzz/run.py KIND FIRST LAST OUTPUT.json      KIND: image, weights, text, video, values

The results are written after every 5000 cases. The same command goes on from there.

Cases are numbered; the same number is the same change to the same file, as far as encoders write the same ones: those
of videos put random numbers in. They run in a child process that is watched: one that hangs, grows or dies is a
finding, and the run goes on after it.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE.parents[1] / "tests" / "fuzz")]

MOST_S, MOST_BYTES, LOOK_S = 10.0, 4 << 30, 0.05  # MOST_S: of processor time, because the machine can be busy
HANGS_S = 300.0
PART = 5000  # cases between two writings of the results


@dataclass(frozen=True)
class Done:
    """What became of a case: how it ended, in what processor time, and the most memory of its process so far."""

    outcome: str
    why: str
    seconds: float
    peak_bytes: int


@dataclass
class Tally:
    """What became of all cases."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    slowest: dict[str, float] = field(default_factory=lambda: {"case": -1, "seconds": 0.0})
    peak_bytes: int = 0

    def add(self, kind: str, number: int, done: Done) -> None:
        """Count a case; what is neither read nor refused is a finding."""
        self.outcomes[done.outcome] += 1
        if done.seconds > self.slowest["seconds"]:
            self.slowest = {"case": number, "seconds": round(done.seconds, 3)}
        self.peak_bytes = max(self.peak_bytes, done.peak_bytes)
        if done.why:
            self.findings.append({"case": number, "why": done.why})
            print(f"{kind} {number}: {done.why.splitlines()[-1][:160]}", flush=True)


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
            pipe.send(number)
            started, why = time.process_time(), ""
            try:
                outcome = try_one(kind, seeds, number, folder / "spoiled")
            except BaseException:
                outcome, why = "fault", traceback.format_exc(limit=-4)
            peak = _peak_bytes()
            pipe.send(Done(outcome, why, time.process_time() - started, peak))


def _peak_bytes() -> int:
    """The peak memory of this process; only Windows keeps it without the module resource."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run(kind: str, first: int, last: int, tally: Tally) -> None:
    context = multiprocessing.get_context("spawn")
    while first < last:
        here, there = context.Pipe()
        child = context.Process(target=work, args=(kind, first, last, there), daemon=True)
        child.start()
        there.close()
        first = watch(kind, first, last, here, child, tally)
        child.kill()
        child.join()


def watch(kind: str, number: int, last: int, pipe: Connection, child: Any, tally: Tally) -> int:
    """Follow a child process to its end; return the number of the case to go on with."""
    since, used, ready, died = time.monotonic(), 0.0, False, False
    while number < last:
        size, processor_s = _state(child.pid)
        slow = ready and processor_s - used > MOST_S
        if died or size > MOST_BYTES or slow or time.monotonic() - since > HANGS_S:
            why = (
                f"the process died ({child.exitcode})"
                if died
                else "more than 4 GB"
                if size > MOST_BYTES
                else f"more than {MOST_S if slow else HANGS_S:g} s"
            )
            tally.add(kind, number, Done("fault", why, time.monotonic() - since, min(size, MOST_BYTES)))
            return number + 1
        if not pipe.poll(LOOK_S):
            continue
        try:
            message: int | Done = pipe.recv()
        except EOFError:
            child.join()
            died = True
            continue
        since, used, ready = time.monotonic(), processor_s, True
        if isinstance(message, Done):
            tally.add(kind, number, message)
            number += 1
    return number


def _state(process: int) -> tuple[int, float]:
    """The resident memory and the processor seconds of a process."""
    try:
        found = psutil.Process(process)
        times = found.cpu_times()
        return found.memory_info().rss, times.user + times.system
    except psutil.NoSuchProcess:
        return 0, 0.0


def main(kind: str, first: int, last: int, output: Path) -> int:
    """Run the cases in parts; after each part the results are written, and the next call goes on from there."""
    from tfmlc.results import provenance, write_result

    earlier = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    if (earlier.get("kind"), earlier.get("first")) != (kind, first):
        earlier = {}
    tally = Tally(
        Counter(earlier.get("outcomes", {})),
        earlier.get("findings", []),
        earlier.get("slowest", {"case": -1, "seconds": 0.0}),
        earlier.get("peak_mib", 0) << 20,
    )
    commits, seconds = earlier.get("commits", []), earlier.get("seconds", 0)
    for begin in range(earlier.get("last", first - 1) + 1, last, PART):
        end, started = min(begin + PART, last), time.monotonic()
        run(kind, begin, end, tally)
        seconds += round(time.monotonic() - started)
        commits = list(dict.fromkeys([*commits, provenance("cpu")["commit"]]))
        content = {
            "kind": kind,
            "first": first,
            "last": end - 1,
            "cases": end - first,
            "outcomes": dict(sorted(tally.outcomes.items())),
            "slowest": tally.slowest,
            "peak_mib": tally.peak_bytes >> 20,
            "seconds": seconds,
            "commits": commits,
            "findings": tally.findings,
        }
        write_result(output, content)
        print(f"{kind}: {end - first} cases, {dict(tally.outcomes)}, {seconds} s", flush=True)
    return len(tally.findings)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
