"""The throughput of a Ray cluster on one machine, compared with plain processes, and what it takes per file."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tfmlc.bench.measure import process_tree
from tfmlc.deblur.batch import Job, Outcome, plan_batch, restore_photo
from tfmlc.deblur.clustered import Make, run_on_cluster
from tfmlc.deblur.deblurrer import Deblurrer
from tfmlc.deblur.strength import network_of
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.runtime.cluster import Cluster, connected

SIDE_PX, LARGE_PX = (480, 640), (3000, 4000)


def bench_ray(photos: int = 20, items: int = 1000) -> dict[str, Any]:
    """Measure the deblurring of photos by one worker per core, as processes and as workers of a Ray cluster.

    Both have one model and one thread per worker, and give the same bytes. What is measured are the results in the
    middle, while all workers are busy. Processor time is that of the whole tree of processes, with Ray's own; other
    load on the machine changes it far less than the rate. The same is measured with items for which nothing is done.

    Args:
        photos: The number of photos, of noise.
        items: The number of items for which nothing is done.

    Returns:
        Rows with the seconds until the first photo, the photos per second, processor seconds per photo, and
        milliseconds per item without work; the load of the machine at the start; and the processor seconds of one JPEG
        of 12 megapixels, with reading and writing.

    Raises:
        UserError: If a photo fails, or the two differ.
    """
    load, cores = round(os.getloadavg()[0], 1), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        place = Path(folder)
        for number in range(photos):
            _write_noise(place / "in" / f"{number}.png", SIDE_PX)
        plans = [plan_batch([place / "in"], place / name) for name in ("processes", "ray")]
        plain = _measured(_results(pool, _restore, plans[0].jobs), photos)
        idle = _measured(_results(pool, abs, range(items)), items)
        rows = [_row("processes", plain, idle)]
        _write_noise(place / "large.jpg", LARGE_PX)
        large_s = pool.submit(_processor_s, Job(place / "large.jpg", place / "restored.jpg")).result()
        with connected():
            make = Make(network_of("default", None), device="cpu", precision="fp32")
            busy = _measured(run_on_cluster(Cluster(), make, plans[1]), photos)
            rows.append(_row("Ray", busy, _measured(Cluster().run(_start_of_nothing, range(items)), items)))
        made = [{path.name: path.read_bytes() for path in (place / name).iterdir()} for name in ("processes", "ray")]
    if made[0] != made[1] or len(made[0]) != photos:
        raise UserError("processes and Ray did not make the same files: is the disk full?")
    size = f"{SIDE_PX[1]}x{SIDE_PX[0]}"
    counts = {"photos": photos, "size": size, "items": items, "workers": cores, "load": load}
    return {**counts, "rows": rows, "large_size": f"{LARGE_PX[1]}x{LARGE_PX[0]}", "large_cpu_s": round(large_s, 2)}


def _results(pool: ProcessPoolExecutor, work: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
    for call in as_completed([pool.submit(work, item) for item in items]):
        yield call.result()


def _write_noise(path: Path, side_px: tuple[int, int]) -> None:
    write_image(path, Image(np.random.default_rng(0).integers(0, 256, (*side_px, 3), np.uint8)))


@dataclass(frozen=True)
class _Pace:
    """The seconds until the first result, and then the seconds and processor seconds of each."""

    start_s: float
    seconds: float
    cpu_s: float


def _measured(results: Iterable[Any], total: int) -> _Pace:
    """Measure results from a quarter of their number on to four fifths: workers have started, and none has ended."""
    started, first, marks = time.perf_counter(), 0.0, list[tuple[float, float]]()
    begin, end = total // 4, total * 4 // 5
    for number, _ in enumerate(results, start=1):
        first = first or time.perf_counter()
        if number in {begin, end}:
            marks.append((time.perf_counter(), _tree_cpu_s()))
    (one, one_cpu), (two, two_cpu) = marks
    return _Pace(first - started, (two - one) / (end - begin), (two_cpu - one_cpu) / (end - begin))


def _tree_cpu_s() -> float:
    return sum(sum(process.cpu_times()[:2]) for process in process_tree())


def _row(by: str, busy: _Pace, idle: _Pace) -> dict[str, Any]:
    return {
        "by": by,
        "start_s": round(busy.start_s, 1),
        "photos_per_s": round(1 / busy.seconds, 3),
        "cpu_s_per_photo": round(busy.cpu_s, 3),
        "overhead_ms": round(1e3 * idle.seconds, 3),
        "overhead_cpu_ms": round(1e3 * idle.cpu_s, 3),
    }


@cache
def _deblurrer() -> Deblurrer:
    torch.set_num_threads(1)
    return Make(network_of("default", None), device="cpu", precision="fp32")()


def _restore(job: Job) -> Outcome:
    return restore_photo(_deblurrer(), job)


def _processor_s(job: Job) -> float:
    """Return the processor seconds of a photo, without the loading of the model."""
    _deblurrer()
    started = time.process_time()
    if error := _restore(job).error:
        raise UserError(error)
    return time.process_time() - started


def _start_of_nothing() -> Callable[[int], int]:
    return abs
