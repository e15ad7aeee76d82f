"""How much memory is free for this process: that of the machine, or less inside a container with a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

OF_PROCESS = Path("/proc/self/cgroup")  # the groups of this process, one line a hierarchy: number:controllers:path


@dataclass(frozen=True)
class Hierarchy:
    """Where a version of Linux's control groups says how much memory a group has.

    Attributes:
        root: The folder of the topmost group that is seen from here.
        most: The file with the limit of a group.
        used: The file with what it uses, with cached files.
        cached: The entry of ``memory.stat`` for cached files that are dropped first.
    """

    root: Path
    most: str
    used: str
    cached: str


VERSIONS = {
    "": Hierarchy(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),  # v2 names no controllers
    "memory": Hierarchy(  # v1
        Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    ),
}


def free_bytes() -> int:
    """Return how many bytes this process can take without swapping or, in a container, without being killed.

    >>> free_bytes() <= psutil.virtual_memory().total
    True
    """
    return max(0, min((psutil.virtual_memory().available, *_free_in_groups())))


def _free_in_groups() -> Iterator[int]:
    """Yield what is free in each group with a limit: that of the process and those around it."""
    with suppress(OSError, ValueError):
        for line in OF_PROCESS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if controller in VERSIONS:
                    found = VERSIONS[controller]
                    group = found.root / path.lstrip("/")
                    while group.is_relative_to(found.root):  # in a container a path of the host leads to the root only
                        yield from _free_in(group, found)
                        group = group.parent


def _free_in(group: Path, files: Hierarchy) -> Iterator[int]:
    with suppress(OSError, ValueError):  # the topmost group of a machine has no limit, and v2 says "max" for none
        most, used = (int((group / name).read_text()) for name in (files.most, files.used))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield most - used + int(stat.get(files.cached, 0))
