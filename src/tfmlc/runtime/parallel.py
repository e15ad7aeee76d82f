"""Work beside the main thread, in processes or in a thread of its own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
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
    """A pool of processes, by default one a core; an interruption leaves it without what has not begun.

    Raises UserError where one of the processes was ended from outside.
    """
    pool = ProcessPoolExecutor(
        workers or os.cpu_count(), get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN)
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was ended from outside, mostly because memory ran out: take fewer workers; "
            "what was finished is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The same items, made in a thread of their own while earlier ones are worked on, up to ``depth`` of them ahead.

    >>> list(read_ahead((number * number for number in range(5)), 2))
    [0, 1, 4, 9, 16]
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as reader:
        ahead = deque(reader.submit(next, source, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(reader.submit(next, source, end))
            yield cast(Item, item)
