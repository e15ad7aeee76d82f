"""The scoring of the pairs of a dataset, on this machine or by the workers of a cluster."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tfmlc.data.datasets.pairs import Pair, detail, read_pair
from tfmlc.errors import UserError
from tfmlc.evaluation.identity import pair_sha256
from tfmlc.evaluation.record import Place, Record, Row, Scoring
from tfmlc.evaluation.sources import Restored, Source
from tfmlc.io.files import file_sha256
from tfmlc.io.images import Image, write_image
from tfmlc.metrics.protocols import PROTOCOLS
from tfmlc.metrics.registry import score_images
from tfmlc.runtime.cluster import LOST, Cluster
from tfmlc.runtime.parallel import read_ahead
from tfmlc.runtime.progress import Progress

AHEAD = 2  # images per model that wait to be scored
Read = tuple[Pair, NDArray[np.uint8], NDArray[np.uint8], Row]
Task = tuple[Pair, tuple[int, ...]]


@dataclass(frozen=True)
class Scorer:
    """What scores the images that a source restores.

    Attributes:
        source: The source.
        place: Where the restored images are kept.
        scoring: What to compute.
    """

    source: Source
    place: Place
    scoring: Scoring

    def row(
        self,
        name: str,
        restored: Restored,
        sharp: NDArray[np.uint8],
        pool: ThreadPoolExecutor,
        info: Row,
    ) -> Row:
        """Score a restored image; return its row, with ``info`` about the image."""
        rounded = np.rint(restored * 255).astype(np.uint8) if restored.dtype == np.float32 else restored
        exact = restored if restored.dtype == np.float32 else np.float32(1 / 255) * restored
        jobs = {
            protocol: pool.submit(PROTOCOLS[protocol].scores, rounded, sharp)
            if PROTOCOLS[protocol].rounded
            else pool.submit(PROTOCOLS[protocol].scores, exact, np.float32(1 / 255) * sharp)
            for protocol in self.scoring.protocols
        }
        row: Row = {"image": name, **info}
        if (file := self.source.files.get(name)) is not None:
            row["restored"] = file_sha256(file)
        if self.scoring.save:
            path = self.place.image_of(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, Image(rounded), fast=True)
            row["image_sha256"] = file_sha256(path)
        others = score_images(rounded, sharp, self.scoring.metrics, pool)
        scores = {f"{name}/{key}": value for name, job in jobs.items() for key, value in job.result().items()} | others
        return row | {"scores": {key: value if math.isfinite(value) else None for key, value in scores.items()}}

    def restore(self, read: Read) -> tuple[Restored, Row, list[str]]:
        """Restore the image of a pair; return it, the start of its row, and what is unreliable about it."""
        pair, blurry, _, info = read
        started, warnings = time.monotonic(), list[str]()
        restored = self.source.restore(pair, blurry, warnings.append)
        said = [f"{self.source.info['model']}, {pair.name}: {warning}" for warning in warnings]
        return restored, {**info, "seconds": round(time.monotonic() - started, 3)}, said


def _scorer(record: Record) -> Scorer:
    return Scorer(record.source, record.place, record.scoring)


def score_pairs(records: Sequence[Record], pairs: Sequence[Pair], progress: Progress) -> None:
    """Score the images that have no scores yet, in order; reading, restoring and scoring overlap."""
    tasks = dict(_tasks(records, pairs, progress))
    with (
        ThreadPoolExecutor(1) as worker,  # one, because all models share the features of the sharp image
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):

        def add(record: Record, read: Read, restored: Restored, row: Row) -> None:
            record.keep(_scorer(record).row(read[0].name, restored, read[2], pool, row))

        scored: list[Future[None]] = []
        for read in read_ahead(map(_read, tasks), 1):
            for number in tasks[read[0]]:
                restored, row, said = _scorer(records[number]).restore(read)
                for line in said:
                    progress.say(line)
                scored.append(worker.submit(add, records[number], read, restored, row))
            while len(scored) > AHEAD * len(records):
                scored.pop(0).result()
            progress.advance()
        for future in scored:
            future.result()


def score_on_cluster(cluster: Cluster, records: Sequence[Record], pairs: Sequence[Pair], progress: Progress) -> None:
    """Score the images that have no scores yet by the workers of a cluster, which reach the files by the same paths.

    The models travel to the workers, and run there on the kind of device that they have here.

    Raises:
        UserError: As ``Cluster.run``, or if workers died on a pair.
    """
    on_gpu = any(record.source.device.startswith("cuda") for record in records)
    start = partial(_start, [_scorer(record) for record in records], cluster.cores)
    tasks = _tasks(records, pairs, progress)
    lost: list[Pair] = []
    for (pair, numbers), rows in cluster.run(start, tasks, on_gpu=on_gpu):
        if rows is None:
            lost.append(pair)
            continue
        for number, (row, said) in zip(numbers, rows, strict=True):
            records[number].keep(row)
            for line in said:
                progress.say(line)
        progress.advance()
    if lost:
        raise UserError(f"{lost[0].blurry} {LOST} ({len(lost)} in total)")


def _start(scorers: Sequence[Scorer], threads: int) -> Callable[[Task], list[tuple[Row, list[str]]]]:
    """Return the function of a worker; it returns for each model the row of a pair, and what is unreliable."""

    def score(task: Task) -> list[tuple[Row, list[str]]]:
        read = _read(task[0])
        with ThreadPoolExecutor(threads) as pool:
            rows: list[tuple[Row, list[str]]] = []
            for number in task[1]:
                restored, row, said = scorers[number].restore(read)
                rows.append((scorers[number].row(task[0].name, restored, read[2], pool, row), said))
        return rows

    return score


def _tasks(records: Sequence[Record], pairs: Sequence[Pair], progress: Progress) -> list[Task]:
    """Return the pairs that lack scores, each with the numbers of the records that lack them."""
    waiting = {pair: tuple(n for n, record in enumerate(records) if pair.name not in record.rows) for pair in pairs}
    tasks = [(pair, numbers) for pair, numbers in waiting.items() if numbers]
    progress.update(len(pairs) - len(tasks))
    return tasks


def _read(pair: Pair) -> Read:
    """Read a pair, with its fingerprint, and whether blurry and sharp look swapped."""
    blurry, sharp = read_pair(pair)
    return pair, blurry, sharp, {"pair": pair_sha256(pair), "swapped": detail(blurry) > detail(sharp)}
