"""Parallel work, in processes or in a background thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from os import cpu_count
from signal import SIG_IGN, SIGINT, signal
from typing import TypeVar, cast

import cv2

from tfmlc.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def worker_pool(workers: int | None = None, *, jobs: int | None = None, threads: bool = False) -> Generator[Executor]:
    """Open a pool of processes, by default one per core, or of threads.

    A process takes seconds to start. One worker is therefore a thread of this process, and there are never more workers
    than jobs. An interruption cancels the work that has not begun.

    Args:
        workers: The number of workers. None takes one per core.
        jobs: The number of jobs, if it is known.
        threads: Whether the workers are threads. They fit work that is done outside of Python, such as encoding images.

    Raises:
        UserError: If a process was killed.

    Example:
        >>> with worker_pool(jobs=1) as pool:
        ...     pool.submit(max, 1, 2).result()
        2
    """
    count = workers or cpu_count() or 1
    if jobs is not None:
        count = max(1, min(count, jobs))
    if threads or count == 1:
        pool: Executor = ThreadPoolExecutor(count)
    else:
        pool = ProcessPoolExecutor(count, get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, probably because memory ran out: use fewer workers; finished work is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def call_each(
    jobs: Sequence[Callable[[], Result]], workers: int | None = None
) -> Generator[tuple[Callable[[], Result], Result]]:
    """Call functions without arguments in the workers of a pool; yield each with its result, as they are finished.

    >>> from functools import partial
    >>> [result for _, result in call_each([partial(max, 1, 2)])]
    [2]
    """
    with worker_pool(workers, jobs=len(jobs)) as pool:
        calls = {pool.submit(job): job for job in jobs}
        for call in as_completed(calls):
            yield calls[call], call.result()


def _start_worker() -> None:
    """Leave interruptions to the process that opened the pool, and the other cores to the other workers."""
    signal(SIGINT, SIG_IGN)
    cv2.setNumThreads(1)


def read_ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Yield the same items, but prepare up to ``depth`` of them ahead in a background thread.

    If the reader stops early, the items that are not yet begun are not prepared.

    >>> list(read_ahead((number * number for number in range(5)), 2))
    [0, 1, 4, 9, 16]
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as reader:
        ahead = deque(reader.submit(next, source, end) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(reader.submit(next, source, end))
                yield cast(Item, item)
        finally:
            for waiting in ahead:
                waiting.cancel()
