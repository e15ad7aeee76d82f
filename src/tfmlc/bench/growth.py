"""How time and memory grow with the size of the work: the real command, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from accelerate import Accelerator
from numpy.typing import NDArray

from tfmlc.bench.measure import in_new_process, process_tree, timed
from tfmlc.data.datasets.synthetic import SyntheticPairs
from tfmlc.data.synthesis.blur import BlurConfig
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.runtime.progress import Progress
from tfmlc.training.batches import load_batches
from tfmlc.training.loop_config import LoopConfig

MEGAPIXELS = (0.25, 1, 4, 16, 64, 200)
FRAMES, FRAME_PX = (1, 10, 100, 1000, 3000), (48, 64)
FILES, FILE_PX = (1, 10, 100, 1000, 10000), (48, 64)
WORKERS, LOADED_STEPS = (1, 2, 4, 8), 24
SAMPLE_S = 0.05


@dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        seconds: The time until it ended.
        processor_s: The time of all processors, which other load on the machine changes less.
        peak_mib: The largest resident memory of it and the processes that it started.
    """

    seconds: float
    processor_s: float
    peak_mib: float


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command to its end and measure it; raises UserError with its last line if it fails."""
    before, started, peak = psutil.Process().cpu_times(), time.perf_counter(), 0
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=said, stderr=said) as running,  # noqa: S603 (a command of this program)
    ):
        while running.poll() is None:
            with suppress(psutil.Error):
                peak = max(peak, _memory(running.pid))
            time.sleep(SAMPLE_S)
        seconds = time.perf_counter() - started
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if running.returncode:
        raise UserError(f"{' '.join(command)} failed: {lines[-1] if lines else running.returncode}")
    after = psutil.Process().cpu_times()  # of ended processes
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(round(seconds, 2), round(used, 2), round(peak / 2**20))


def smooth_noise(side_px: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """Make an image ``h w 3`` with soft spots."""
    small = np.random.default_rng(seed).integers(0, 256, (side_px[0] // 8 + 1, side_px[1] // 8 + 1, 3), np.uint8)
    return np.asarray(cv2.resize(small, side_px[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def write_photo(place: Path, megapixels: float) -> Path:
    """Write a JPEG of a size in megapixels, three to four."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    write_image(place / "photo.jpg", Image(smooth_noise((width * 3 // 4, width), 0)))
    return place / "photo.jpg"


def write_clip(place: Path, frames: float) -> Path:
    """Write a video of a number of small frames."""
    import av

    with av.open(str(place / "clip.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", Fraction(30))
        stream.height, stream.width, stream.pix_fmt = *FRAME_PX, "yuv420p"
        still = smooth_noise(FRAME_PX, 0)
        for number in range(int(frames)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, number, axis=1), "rgb24")))
        container.mux(stream.encode(None))
    return place / "clip.mp4"


def write_folder(place: Path, files: float) -> Path:
    """Write a folder of small photos."""
    for number in range(int(files)):
        write_image(place / "photos" / f"{number}.png", Image(smooth_noise(FILE_PX, number)))
    return place / "photos"


def load_pairs(folder: Path, workers: int) -> dict[str, float]:
    """Make training pairs of a photo with a number of loading processes; the seconds and the peak memory of all."""
    photos = [write_photo(folder, 4)]
    config = LoopConfig(steps=LOADED_STEPS, batch_size=8, workers=workers, trackers=[])
    pairs = SyntheticPairs(photos, BlurConfig(), patch_px=192, length=LOADED_STEPS * 8)
    batches = load_batches(pairs, config, Accelerator(cpu=True), 0, LOADED_STEPS)
    next(batches)  # the processes have started
    peaks, seconds = timed(lambda: [_memory() for _ in batches])
    return {"seconds": round(seconds, 2), "peak_mib": round(max(peaks) / 2**20)}


def _memory(process_id: int | None = None) -> int:
    """Return the resident memory of a process, by default this one, and those that it started, in bytes."""
    return sum(process.memory_info().rss for process in process_tree(process_id))


CASES: dict[str, tuple[Callable[[Path, float], Path], tuple[float, ...]]] = {
    "megapixels of a photo": (write_photo, MEGAPIXELS),
    "frames of a video": (write_clip, FRAMES),
    "files of a folder": (write_folder, FILES),
}


def bench_growth() -> Iterator[dict[str, Any]]:
    """Measure ``tfmlc deblur`` on photos, videos and folders of growing size, and the loading of training pairs.

    Yields:
        A row of each size when it is measured: ``what`` grows, its ``number``, ``seconds`` and ``peak_mib``, and, of
        a command, ``processor_s``.

    Raises:
        UserError: If a command fails.
    """
    with Progress("sizes", sum(len(sizes) for _, sizes in CASES.values()) + len(WORKERS)) as progress:
        for what, (write, sizes) in CASES.items():
            for size in sizes:
                with tempfile.TemporaryDirectory() as name:
                    source = write(Path(name), size)
                    command = [sys.executable, "-m", "tfmlc.cli", "deblur", str(source), "-o", str(Path(name, "out"))]
                    if source.is_file():
                        command[-1] += source.suffix
                    cost = vars(cost_of([*command, "--yes-large"]))
                yield {"what": what, "number": size, **cost}
                progress.advance()
        for workers in WORKERS:
            with tempfile.TemporaryDirectory() as name:
                cost = in_new_process(load_pairs, Path(name), workers)
            yield {"what": "loading processes", "number": workers, **cost}
            progress.advance()
