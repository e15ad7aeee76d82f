"""Python imports this at the start of every process of a watched command: operations on files are noted, or end it.

Opening for writing, renaming, removing, making a folder: these are the moments at which a kill can leave something
half done. The program itself is not changed; Python tells its audit hooks of every operation before it happens.

FAULTS_FOLDER   the folder whose files count
FAULTS_LOG      file that gets a line for each operation: process, time, operation, name
FAULTS_AT       the number of the operation, counted in each process, at which the group of processes is killed; 0: at
                the start of Python
FAULTS_DELAY_S  seconds after it; 0: before it happens
FAULTS_GROUP    the process whose group is killed; 0: the process alone that is there
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any

FOLDER = os.environ.get("FAULTS_FOLDER", "")
LOG = os.environ.get("FAULTS_LOG", "")
AT = int(os.environ.get("FAULTS_AT", "-1"))
DELAY_S = float(os.environ.get("FAULTS_DELAY_S", "0"))
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR
seen = 0


def kill() -> None:
    group = int(os.environ["FAULTS_GROUP"])
    if group:
        os.killpg(group, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_later() -> None:
    if DELAY_S:
        timer = threading.Timer(DELAY_S, kill)
        timer.daemon = True
        timer.start()
    else:
        kill()


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    global seen  # noqa: PLW0603
    if event not in OPERATIONS or not isinstance(arguments[0], (str, os.PathLike)):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
        return
    path = os.path.abspath(arguments[0])  # noqa: PTH100 (pathlib is not loaded yet)
    if not path.startswith(FOLDER):
        return
    seen += 1
    if LOG:
        line = f"{os.getpid()} {time.monotonic():.4f} {event} {path[len(FOLDER) :]}\n"
        handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line.encode(errors="backslashreplace"))
        os.close(handle)
    if seen == AT:
        kill_later()


if FOLDER:
    FOLDER = os.path.abspath(FOLDER) + os.sep  # noqa: PTH100
    if AT == 0:
        kill_later()
    sys.addaudithook(watch)
