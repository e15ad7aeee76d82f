"""Work on the machines of a Ray cluster: each worker starts once and then takes one item after another."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2

from tfmlc.errors import UserError

RETRIES = 2  # an item on which three workers died would end a fourth one, too
MOST_BLOCKS = 10_000  # the driver keeps account of each
ANSWER_S = 5.0
LOST = "ended each worker that took it: is their memory too small?"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # nobody was asked for the statistics
Item = TypeVar("Item")
Result = TypeVar("Result")
Start = Callable[[], Callable[[Item], Result]]


@dataclass(frozen=True)
class _Box(Generic[Item]):
    """A value in a column of a Ray dataset; Arrow would change the types inside of plain dicts and lists."""

    value: Item


class _Worker:
    """A worker, in the folder of the driver; an error of the user in its start is the answer to every item."""

    def __init__(self, start: Any, folder: str, cores: int) -> None:
        ray: Any = import_module("ray")
        cv2.setNumThreads(cores)
        with suppress(OSError):  # a machine may lack it, and has other paths then
            os.chdir(folder)
        try:
            self._run: Callable[[Any], Any] = ray.get(start)()
        except UserError as error:
            why = UserError(str(error))
            self._run = lambda _: why

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, item = row["box"].value
        try:
            return {"box": _Box((number, self._run(item)))}
        except UserError as error:  # a copy, without the frames of the trace
            return {"box": _Box((number, UserError(str(error), option=error.option)))}


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster.

    Attributes:
        address: ``HOST:PORT`` of its head. None takes the variable RAY_ADDRESS, or the cluster that runs on this
            machine, or starts one on this machine.
        cores: The number of cores of a worker without GPU.
    """

    address: str | None = None
    cores: int = 1

    def run(
        self, start: Start[Item, Result], items: Sequence[Item], *, on_gpu: bool = False
    ) -> Generator[tuple[Item, Result | None]]:
        """Run a function on many items, in one worker per GPU or per ``cores`` cores.

        An item is run again, by a new worker, if its worker died. Its work must therefore be harmless to repeat. Very
        many items are handed out in blocks; those that were lost with their block are run again one by one.

        Args:
            start: Called once in each worker; it returns the function for the items. It must be possible to pickle it.
            items: The items.
            on_gpu: Whether each worker takes a GPU, if the cluster has GPUs.

        Yields:
            Each item with its result, as they are finished. The result is None if the workers died on it.

        Raises:
            UserError: If the cluster does not answer or has no place for a worker, or a worker raises it.
        """
        ray: Any = import_module("ray")  # heavy, and of an extra
        if not items:
            return
        with connected(self.address):
            resources, count = self._workers(on_gpu)
            left = dict(enumerate(items))
            try:
                arguments = ray.put(start), str(Path.cwd()), self.cores
                for blocks in sorted({min(len(items), MOST_BLOCKS), len(items)}):  # at last each item in its own
                    for number, result in _results(arguments, left, blocks, resources, count):
                        if isinstance(result, UserError):
                            raise result
                        yield left.pop(number), result
            except ray.exceptions.RayError as error:
                why = " ".join(str(error).split())
                raise UserError(f"the Ray cluster stopped the work, finished work is kept: {why}") from error
            for item in left.values():
                yield item, None

    def call(self, jobs: Sequence[Callable[[], Result]]) -> Generator[tuple[Callable[[], Result], Result | None]]:
        """Call functions without arguments; otherwise as ``run``."""
        return self.run(_caller, jobs)

    def _workers(self, on_gpu: bool) -> tuple[dict[str, Any], int]:
        """Return the resources of a worker, and how many workers the cluster has place for."""
        ray: Any = import_module("ray")
        nodes: list[dict[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if on_gpu and (gpus := sum(int(node.get("GPU", 0)) for node in nodes)):
            return {"num_gpus": 1}, gpus
        if count := sum(int(node.get("CPU", 0)) // self.cores for node in nodes):
            return {"num_cpus": self.cores}, count
        raise UserError(f"no machine of the Ray cluster has {self.cores} cores for a worker: give a worker fewer")


def _caller() -> Callable[[Callable[[], Result]], Result]:
    return lambda job: job()


def _results(
    arguments: tuple[Any, ...], items: Mapping[int, Any], blocks: int, resources: dict[str, Any], count: int
) -> Iterator[tuple[int, Any]]:
    """Yield the number and the result of each item, except those in whose block the workers died."""
    if not items:
        return
    data: Any = import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it repeats with traces what the outcomes say
    rows = [{"box": _Box(numbered)} for numbered in items.items()]
    count = min(count, len(rows))
    source = data.from_items(rows, override_num_blocks=min(len(rows), blocks))
    source.context.max_errored_blocks = -1  # an item that ends its workers does not end the run
    source.context.enable_progress_bars = source.context.print_on_execution_start = False
    # one task at a time: what waits behind an item that ends its workers would count as tried, too
    pool = data.ActorPoolStrategy(min_size=1, max_size=count, initial_size=count, max_tasks_in_flight_per_actor=1)
    retries: dict[str, Any] = {"max_task_retries": RETRIES}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args`")  # no other parameter takes the retries
        made = source.map(_Worker, compute=pool, fn_constructor_args=arguments, **resources, **retries)
    for row in made.iter_rows():
        yield row["box"].value


@contextmanager
def connected(address: str | None = None) -> Generator[None]:
    """Connect to a cluster, as ``Cluster`` says; a connection that stands already is used and kept."""
    ray: Any = import_module("ray")
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    if address and ":" in address:
        check_answers(address)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises many types, also the bare one where a node does not start in time
        why = " ".join(str(error).split())
        raise UserError(f"cannot use the Ray cluster {address or 'of this machine'}: {why}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Raise UserError at once if nothing answers at an address; Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    try:
        if "/" in host or not port.isdecimal():
            raise UserError(f"the address of a Ray cluster is HOST:PORT, not {address}")
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UserError(
            f"no Ray cluster answers at {address} ({why}): is it running, and does no firewall stand between?"
        ) from error
