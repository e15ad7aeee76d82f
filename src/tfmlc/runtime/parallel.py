"""Parallel work, in processes or in a background thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from signal import SIG_IGN, SIGINT, signal
from typing import TypeVar, cast

from tfmlc.errors import UserError

Item = TypeVar("Item")


@contextmanager
def worker_pool(workers: int | None = None) -> Generator[ProcessPoolExecutor]:
    """Open a pool of processes, by default one per core.

    An interruption cancels the work that has not begun. Raises UserError if a process was killed.
    """
    pool = ProcessPoolExecutor(
        workers or os.cpu_count(), get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN)
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, probably because memory ran out: use fewer workers; finished work is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
