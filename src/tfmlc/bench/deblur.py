"""The time and memory of deblurring, relative to the official code of each network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from tfmlc.bench.measure import PeakMemory, give_back_memory, timed
from tfmlc.deblur import Deblurrer
from tfmlc.evaluation.official import official_inference
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.weights import find_model
from tfmlc.networks import NETWORKS, Network, build_network, load_network
from tfmlc.runtime.progress import Progress

MODELS = ("default", "hinet", "mprnet-lite", "nafnet")
FRAME_PX, LARGE_PX = (720, 1280), (3000, 4000)


def bench_deblur(
    models: Sequence[str] = MODELS,
    repeats: int = 3,
    frame_px: tuple[int, int] = FRAME_PX,
    large_px: tuple[int, int] = LARGE_PX,
) -> Iterator[dict[str, Any]]:
    """Measure the deblurring of images of noise, on the CPU.

    Each network restores a video frame as its official code does, and with the deblurrer in fp32 and, if the machine
    has a faster one, in the automatic precision. Models with weights restore a large photo too; the others cost minutes
    there, and the cost of a pixel is the same.

    Args:
        models: Names of networks, which get random weights, names of models, or weights files.
        repeats: The number of runs. The fastest one counts.
        frame_px: The height and width of the frame.
        large_px: The height and width of the large photo.

    Yields:
        A row of each image and way when it is measured, with seconds, megapixels per second and extra memory in MiB.
        ``times_faster`` compares with the official code.

    Raises:
        UserError: If a model cannot be loaded.
    """
    sizes = {name: (frame_px,) if name in NETWORKS else (frame_px, large_px) for name in models}
    with Progress("images", sum(map(len, sizes.values()))) as progress:
        for name, of_model in sizes.items():
            for size in of_model:
                yield from _bench_image(name, size, repeats)
                progress.advance()


def _bench_image(name: str, size: tuple[int, int], repeats: int) -> Iterator[dict[str, Any]]:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    ways: dict[str, Callable[[], Any]] = {
        "official": partial(official_inference, load_or_build(name), to_tensor(image)[None])
    }
    for precision in ("fp32", "auto"):
        deblurrer = Deblurrer(load_or_build(name), device="cpu", precision=precision)
        ways[deblurrer.precision] = partial(deblurrer.restore_tiles, image, None)
    seconds, extra_mib = dict.fromkeys(ways, float("inf")), dict.fromkeys(ways, 0.0)
    for _ in range(repeats):  # by turns, so that all have the same share of a machine that is slow for a while
        for way, work in ways.items():
            give_back_memory()
            with PeakMemory() as peak:
                seconds[way] = min(seconds[way], timed(work)[1])
            extra_mib[way] = max(extra_mib[way], peak.extra_mib)
    for way, best in seconds.items():
        yield {
            "model": name,
            "image": f"{size[1]}x{size[0]}",
            "way": way,
            "seconds": round(best, 3),
            "megapixels_per_s": round(image.size / 3e6 / best, 3),
            "extra_mib": round(extra_mib[way], 1),
            "times_faster": round(seconds["official"] / best, 2),
        }


def load_or_build(name: str) -> Network:
    """Return a network in evaluation mode; one without weights gets random ones, which cost the same."""
    if name not in NETWORKS:
        return load_network(find_model(name)).eval()
    torch.manual_seed(0)
    return build_network(name).eval()
