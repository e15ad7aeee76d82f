"""Provenance of results: commit, command, versions, device and time."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tfmlc.io.files import write_atomically

PACKAGES = ("tfmlc", "torch", "numpy", "opencv-python-headless", "pillow", "pyiqa")


def provenance(device: str) -> dict[str, object]:
    """Return the entries of a results file that say how it was made."""
    return {
        "commit": _commit(),
        "command": shlex.join([*_program(Path(sys.argv[0])), *map(without_folders, sys.argv[1:])]),
        "device": f"{device}: {_processor()}" if device == "cpu" else device,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := version_of(name)) is not None},
    }


def write_result(path: Path, content: Mapping[str, object], device: str = "cpu") -> dict[str, Any]:
    """Write a results file with its provenance, as JSON, and return what was written."""
    whole = {**content, **provenance(device)}
    write_atomically(path, (json.dumps(whole, indent=1) + "\n").encode())
    return whole


def without_folders(argument: str) -> str:
    r"""Reduce absolute paths in an argument to their last part, so that results do not reveal a machine's folders.

    >>> without_folders("photos=[/home/me/photos, more]"), without_folders("runs/a"), without_folders("/tmp/x.json")
    ('photos=[photos, more]', 'runs/a', 'x.json')
    >>> without_folders(r"photos=[C:\Users\me\photos, more]")
    'photos=[photos, more]'
    """
    option, value = re.fullmatch(r"(-[A-Za-z](?=/)|[\w.-]+=|)(.*)", argument, re.DOTALL).groups()  # pyright: ignore[reportOptionalMemberAccess]
    if re.match(r"/|[A-Za-z]:[\\/]", value) and not re.search(r"[\[\]{},]", value):
        return option + re.split(r"[\\/]" if value[0] != "/" else "/", value.rstrip("/"))[-1]
    argument = re.sub(r"(?<!\w)[A-Za-z]:[\\/](?:[^\\/,=\[\]{}]+[\\/])*([^\\/,=\[\]{}]*)", r"\1", argument)
    return re.sub(r"(?<![\w.~:/])/(?:[^/,:=\[\]{}]+/)*([^/,:=\[\]{}]*)", r"\1", argument)


def _program(started: Path) -> list[str]:
    """Return the program that was started: a script by its relative path, or ``tfmlc``.

    >>> _program(Path("benchmarks/fuzz/run.py")), _program(Path("/usr/bin/tfmlc"))
    (['python', 'benchmarks/fuzz/run.py'], ['tfmlc'])
    """
    is_script = started.suffix == ".py" and started.name != "__main__.py"
    return ["python", without_folders(started.as_posix())] if is_script else ["tfmlc"]


def _commit() -> str | None:
    """Return the commit of the checkout that the package runs from, with a mark if files other than results changed."""
    repository = Path(__file__).parent.parent.parent
    if not (repository / ".git").exists():
        return None  # installed; a repository around it is another one, and its settings could name programs to run
    try:
        commit = _git(repository, "describe", "--always", "--abbrev=12")
        changed = _git(repository, "status", "--porcelain", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(  # noqa: S603 (its arguments are in this file)
        ["git", *arguments],  # noqa: S607 (the user's own git)
        cwd=repository,
        env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},  # of a hook
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def version_of(name: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
