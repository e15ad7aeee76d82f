"""The batches of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator
from safetensors.torch import save
from torch import Tensor
from torch.utils import data
from torch.utils.data import DataLoader, Dataset

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.machine import to_device
from tfmlc.training.task import Items

BAD_BATCH = "bad-batch.safetensors"


def load_batches(dataset: Items, config: LoopConfig, accelerator: Accelerator, first: int, last: int) -> Iterator[Any]:
    """Yield the batches of this process for the steps ``first`` to ``last - 1``.

    Step ``s`` takes the items from ``s * batch_size`` on. Each process takes its part of them, in
    ``config.accumulate`` batches.
    """
    size = config.batch_size
    part = size // accelerator.num_processes
    offset = part * accelerator.process_index
    loader = DataLoader(
        cast("Dataset[Any]", _Told(dataset)),
        collate_fn=_collated,
        batch_size=part // config.accumulate,
        sampler=[step * size + offset + item for step in range(first, last) for item in range(part)],
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=accelerator.device.type == "cuda",
    )
    for batch in _with_short_errors(loader):
        if isinstance(batch, UserError):
            raise batch
        yield to_device(batch, accelerator.device)


class _Told:
    """Items, or the error of the user in their place: torch would send its traceback from a loading process."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __getitem__(self, index: int) -> Any:
        try:
            return self.items[index]
        except UserError as error:
            return error


def _collated(items: list[Any]) -> Any:
    return next((item for item in items if isinstance(item, UserError)), None) or cast(Any, data).default_collate(items)


def _with_short_errors(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches; the death of a loading process is raised as one line without traceback."""
    try:
        yield from loader
    except RuntimeError as error:  # torch's only type for it
        if not (
            found := re.search(r"DataLoader worker .*(exited unexpectedly|is killed by signal: [^.]*)", str(error))
        ):
            raise
        raise UserError(
            f"a process that loads data died ({found[1]}): probably memory or shared memory (/dev/shm) ran out; "
            "use fewer loop.workers, or loop.workers=0; the saved state is still good"
        ) from error


def keep_bad_batch(batches: Iterable[Iterable[Tensor]], accelerator: Accelerator, folder: Path, step: int) -> Path:
    """Write the batches of a step to a file, so that the user can inspect them; return the file."""
    path = folder / BAD_BATCH
    if accelerator.num_processes > 1:
        path = path.with_stem(f"{path.stem}-{accelerator.process_index}")
    tensors = {
        f"part{part}.{place}": value.cpu().contiguous()
        for part, batch in enumerate(batches)
        for place, value in enumerate(batch)
    }
    write_atomically(path, save(tensors, {"step": str(step)}))
    return path
