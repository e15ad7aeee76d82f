"""Several processes, which stand for machines, work off one table in a folder that they share."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import cells

WORKER = """
import socket, sys
host, folder = sys.argv[1:]
socket.gethostname = lambda: host
from pathlib import Path
from tfmlc.io import locks
from tfmlc.reproduce import grid, paper
from tfmlc.reproduce.inputs import GridConfig
locks.LEASE_S = 3.0
grid.METRICS, grid.kept_weights, paper.BLOCKS = ("periodicity",), lambda *_: None, (1, 3)
config = GridConfig(backbone="dinov2-vit-s14")
print(grid.reproduce_table("table3", config, Path(folder, "out"), Path(folder, "work"), quick=True).text)
"""
RUNS = {"hinet-dinov2-vit-s14-1", "hinet-dinov2-vit-s14-3"}


def worker(host: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, host, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """The first line of what a process says that has some words."""
    assert process.stderr is not None
    return next(line for line in process.stderr if words in line)


def finish(process: subprocess.Popen[str]) -> tuple[str, set[str]]:
    """What a process prints, and the cells that it has run."""
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return printed, {line.split(":")[0].removeprefix("GoPro-") for line in said.splitlines() if ": running" in line}


def check(folder: Path, printed: str) -> None:
    """The table has all cells, and no claim is left."""
    assert printed.count(": done") == len(RUNS)
    rows = cells(printed[printed.index("| set") :])[1:]
    assert {row[1] for row in rows if row[0] == "GoPro"} == RUNS
    assert all(row[3] != "-" for row in rows)
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert all("psnr" in row["ours"] for row in summary["rows"])
    assert not list((folder / "work" / "claims").iterdir())


@pytest.mark.multiprocess
def test_two_machines_divide_the_cells(tmp_path: Path) -> None:
    first = worker("one", tmp_path)
    wait_for(first, ": running")
    printed, second = finish(worker("two", tmp_path))
    _, rest = finish(first)
    assert second == RUNS - {"hinet-dinov2-vit-s14-1"}
    assert not second & rest
    check(tmp_path, printed)
    again, ran = finish(worker("one", tmp_path))
    assert not ran
    check(tmp_path, again)


@pytest.mark.multiprocess
def test_the_cell_of_a_dead_machine_is_taken_over(tmp_path: Path) -> None:
    first = worker("one", tmp_path)
    wait_for(first, ": running")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert list((tmp_path / "work" / "claims").iterdir())
    printed, ran = finish(worker("two", tmp_path))
    assert ran == RUNS
    check(tmp_path, printed)
