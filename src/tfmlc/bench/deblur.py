"""The time and memory of deblurring, by image size, precision and tile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from tfmlc.bench.measure import PeakMemory, give_back_memory, timed
from tfmlc.deblur import Deblurrer
from tfmlc.io.weights import find_model
from tfmlc.networks import load_network
from tfmlc.runtime.progress import Progress

SIDES_PX = ((720, 1280), (3000, 4000))
TILES_PX = (None, 256)  # None: chosen by the free memory


def bench_deblur(model: str, repeats: int = 2, sides_px: Sequence[tuple[int, int]] = SIDES_PX) -> list[dict[str, Any]]:
    """Measure the deblurring of images of noise, on the CPU.

    Each image size is measured in fp32 and in the automatic precision, with the automatic tile and with tiles of
    256 px.

    Args:
        model: The name of a model or a weights file.
        repeats: The number of runs. The fastest one counts.
        sides_px: The heights and widths of the images.

    Returns:
        Rows with seconds, megapixels per second and extra memory in MiB. ``times_faster`` compares with fp32 and the
        automatic tile.

    Raises:
        UserError: If the model cannot be loaded.
    """
    rows: list[dict[str, Any]] = []
    network = load_network(find_model(model))
    with Progress("images", 2 * len(sides_px) * len(TILES_PX)) as progress:
        for side in sides_px:
            image = np.random.default_rng(0).integers(0, 256, (*side, 3), np.uint8)
            first = 0.0
            for precision in ("fp32", "auto"):
                for tile_px in TILES_PX:
                    deblurrer = Deblurrer(network, device="cpu", precision=precision, tile_px=tile_px)
                    give_back_memory()
                    with PeakMemory() as peak:
                        best = min(timed(partial(deblurrer.restore_tiles, image, None))[1] for _ in range(repeats))
                    first = first or best
                    rows.append(
                        {
                            "image": f"{side[1]}x{side[0]}",
                            "precision": deblurrer.precision,
                            "tile_px": tile_px or "auto",
                            "seconds": round(best, 3),
                            "megapixels_per_s": round(image.size / 3e6 / best, 3),
                            "extra_mib": round(peak.extra_mib, 1),
                            "times_faster": round(first / best, 2),
                        }
                    )
                    progress.advance()
    return rows
