"""Kill commands of tfmlc at random points (kill -9), and look whether the same command mends all.

OMP_NUM_THREADS=1 python benchmarks/faults/run.py [JOB...] [--kills 50] [--seed 0] [--at-once 5] [--output FOLDER]

JOB is a name of ``jobs.JOBS``; by default all. A round kills runs in the same folder one after the other, up to
``--at-once`` times, and then lets the last one end. All files must then be those of a run that nobody disturbed:
the same bytes (JSON and CSV without times), inputs as they were, nothing left over. What differs is counted and said.

Where a kill falls is drawn from the operations on files of the undisturbed run (see ``hook/sitecustomize.py``).
Totals are added to JOB.json in the output folder, results/faults, until it holds that many kills.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jobs import JOBS
from trial import import_all, make_inputs, one_round, undisturbed

from tfmlc.results import write_result

RESULTS = Path(__file__).resolve().parents[2] / "results" / "faults"


def kill(name: str, output: Path, wanted: int, seed: int, at_once: int) -> int:
    """Add rounds to the totals of a job until there are as many kills as wanted; return how many rounds went wrong."""
    path, job = output / f"{name.replace(' ', '-')}.json", JOBS[name]
    totals: dict[str, Any] = {"job": name, "kills": 0, "in_start": 0, "rounds": 0, "differences": 0, "seconds": 0.0}
    if path.exists():
        totals |= {key: json.loads(path.read_text(encoding="utf-8"))[key] for key in totals}
    if totals["kills"] >= wanted:
        return 0
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        work = Path(place)
        make_inputs(job, work / "inputs")
        whole = undisturbed(work, job)
        operations = [*map(len, whole.gaps)]
        print(f"{name}: {whole.seconds:.1f} s, {len(whole.files)} files, {operations} operations", flush=True)
        found = 0
        while totals["kills"] < wanted:
            started, chance = time.monotonic(), random.Random(f"{seed} {name} {totals['rounds']}")
            counts, wrong = one_round(work, job, whole, chance, min(at_once, wanted - totals["kills"]))
            counts += Counter({"rounds": 1, "differences": int(bool(wrong))})
            found += bool(wrong)
            totals |= {key: totals[key] + count for key, count in counts.items()}
            totals["seconds"] = round(totals["seconds"] + time.monotonic() - started, 1)
            write_result(path, {**totals, "operations": sum(operations), "files": len(whole.files)})
            print(f"{name}: {totals['kills']} kills in {totals['rounds']} rounds, {totals['seconds']} s", flush=True)
            if wrong:
                print(wrong, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    import_all()
    wrong = [kill(name, options.output, options.kills, options.seed, options.at_once) for name in options.jobs or JOBS]
    sys.exit(bool(sum(wrong)))


if __name__ == "__main__":
    main()
