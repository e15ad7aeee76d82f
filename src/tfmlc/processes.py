"""Work spread over processes."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from signal import SIG_IGN, SIGINT, signal


@contextmanager
def worker_pool(workers: int | None = None) -> Generator[ProcessPoolExecutor]:
    """A pool of processes, by default one a core; an interruption leaves it without what has not begun."""
    pool = ProcessPoolExecutor(
        workers or os.cpu_count(), get_context("spawn"), initializer=signal, initargs=(SIGINT, SIG_IGN)
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
