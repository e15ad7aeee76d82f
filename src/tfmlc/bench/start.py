"""The time until a command does its work."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tfmlc.bench.growth import cost_of, write_photo
from tfmlc.bench.measure import timed
from tfmlc.runtime.progress import Progress

PHOTO_MEGAPIXELS = 1


def bench_start(repeats: int = 5) -> list[dict[str, Any]]:
    """Measure how long Python, its packages and the program take to start, each in a process of its own.

    Args:
        repeats: The number of runs. The fastest one counts, so files are in the system's cache.

    Returns:
        Rows with ``what`` was started and its seconds. The last row is the deblurring of a photo of one megapixel.

    Raises:
        UserError: If the photo cannot be restored.
    """
    program = [sys.executable, "-m", "tfmlc.cli"]
    with tempfile.TemporaryDirectory() as name:
        photo = write_photo(Path(name), PHOTO_MEGAPIXELS)
        commands = {
            "python": [sys.executable, "-c", "pass"],
            "import tfmlc": [sys.executable, "-c", "import tfmlc"],
            "import torch": [sys.executable, "-c", "import torch"],
            "tfmlc --help": [*program, "--help"],
            "tfmlc deblur PHOTO": [*program, "deblur", str(photo), "-o", str(photo.with_name("out.jpg")), "--again"],
        }
        rows: list[dict[str, Any]] = []
        with Progress("commands", len(commands)) as progress:
            for what, command in commands.items():
                cost_of(command)  # raises an error if it fails
                seconds = min(timed(lambda command=command: _run(command))[1] for _ in range(repeats))
                rows.append({"what": what, "seconds": round(seconds, 3)})
                progress.advance()
    return rows


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 (a command of this program)
