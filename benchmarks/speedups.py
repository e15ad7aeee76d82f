"""Try what could make a network faster on the CPU: memory format, compilation, batches of tiles, one thread.

python benchmarks/speedups.py [MODEL ...]        default, HINet of width 64 and NAFNet of width 32 if none is named

All run in fp32 on one image of noise. ``difference`` is the largest to the plain way, in levels of 8 bits. Compilation
needs a C++ compiler; the time of the first run, which compiles, is given apart. The last way is no image: one large
matrix product after another, of as many operations as the network has.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tfmlc.bench.deblur import load_or_build
from tfmlc.bench.measure import timed
from tfmlc.results import write_result

OUTPUT = Path(__file__).parent.parent / "results" / "bench" / "speedups.json"
MODELS = {"default": 1024, "hinet": 512, "nafnet": 512}
TILE_PX, REPEATS, PRODUCT = 256, 3, 1024


def by_tiles(network: Callable[[Tensor], Tensor], image: Tensor, batch: int) -> Tensor:
    """Run square tiles that do not overlap, some at a time."""
    rows = image.unfold(2, TILE_PX, TILE_PX).unfold(3, TILE_PX, TILE_PX)
    tiles = rows.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, TILE_PX, TILE_PX)
    return torch.cat([network(some) for some in tiles.split(batch)])


def ways_of(network: nn.Module, image: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield each way with the function that runs it; the network changes from way to way."""

    def run(some: Tensor = image) -> Tensor:
        return network(some)[-1]

    yield "plain", run
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    image = image.contiguous(memory_format=torch.channels_last)
    yield "channels last", lambda: run(image)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield "channels last, 1 thread", lambda: run(image)
    torch.set_num_threads(threads)
    for batch in (1, 2, 4):
        yield f"tiles of {TILE_PX} px, {batch} at a time", lambda batch=batch: by_tiles(run, image, batch)
    torch._inductor.config.freezing = True
    compiled = torch.compile(network)
    yield "compiled", lambda: compiled(image)[-1]
    with FlopCounterMode(display=False) as counted:
        run()
    square = torch.rand(PRODUCT, PRODUCT)
    products = round(counted.get_total_flops() / (2 * PRODUCT**3))
    yield "bare matrix products", lambda: [square @ square for _ in range(products)][-1]


@torch.no_grad()
def measure(name: str) -> Iterator[dict[str, Any]]:
    """Measure all ways of one network."""
    side = MODELS.get(name, TILE_PX * 2)
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    plain, plain_s = image, 0.0
    for way, work in ways_of(load_or_build(name), image):
        answer, first_s = timed(work)
        best_s = min(timed(work)[1] for _ in range(REPEATS))
        plain, plain_s = (answer, best_s) if way == "plain" else (plain, plain_s)
        row = {"model": name, "side_px": side, "way": way, "seconds": round(best_s, 3), "first_s": round(first_s, 2)}
        row["times_faster"] = round(plain_s / best_s, 2)
        if answer.shape == plain.shape:  # tiles are other images
            row["difference"] = round(float((answer - plain).abs().max()) * 255, 3)
        print(row, flush=True)
        yield row


if __name__ == "__main__":
    measured: list[dict[str, Any]] = []
    for model in sys.argv[1:] or MODELS:
        for row in measure(model):
            measured.append(row)
            write_result(OUTPUT, {"rows": measured})
