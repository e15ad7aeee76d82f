"""The measurement of time and memory."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import psutil

SAMPLE_S = 0.002
Result = TypeVar("Result")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Run a function; return its result and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def in_new_process(work: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function in a new process and return its result."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def process_tree(process: int | None = None) -> list[psutil.Process]:
    """Return a process, by default this one, and all that it has started."""
    first = psutil.Process(process)
    return [first, *first.children(recursive=True)]


class PeakMemory:
    """Measures how much the resident memory of this process grows inside a ``with`` block; it is sampled every 2 ms."""

    extra_mib = 0.0

    def __enter__(self) -> PeakMemory:
        self._process, self._stop = psutil.Process(os.getpid()), threading.Event()
        self._before = self._process.memory_info().rss
        self._peak = self._before
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def __exit__(self, *error: object) -> None:
        self._peak = max(self._peak, self._process.memory_info().rss)
        self._stop.set()
        self._thread.join()
        self.extra_mib = (self._peak - self._before) / 2**20


def give_back_memory() -> None:
    """Return free memory to the system, so that the next measurement counts only its own memory."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # a system without glibc
        return
