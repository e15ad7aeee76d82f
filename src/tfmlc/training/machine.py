"""The machine of a run: its device, its processes, its trackers, and the signal that stops it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import torch
from accelerate import Accelerator, utils
from accelerate.utils import ProjectConfiguration
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.training.loop_config import LoopConfig

Result = TypeVar("Result")


def make_accelerator(config: LoopConfig, folder: Path) -> Accelerator:
    """Return the accelerator of a run, which knows the device, the processes and the trackers.

    Args:
        config: The settings of the loop.
        folder: The folder of the run. Logs go to its subfolder ``log``.

    Returns:
        The accelerator.

    Raises:
        UserError: If CUDA is requested without a GPU, or a tracker is not installed.

    Example:
        >>> make_accelerator(LoopConfig(device="cpu", trackers=[]), Path("run")).device
        device(type='cpu')
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("loop.device=cuda, but torch finds no GPU: set loop.device=auto, or repair the GPU driver")
    places = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "log"))
    missing = [name for name in config.trackers if find_spec(name) is None]
    if missing:
        raise UserError(f"loop.trackers names {missing[0]}, which is not installed: pip install {missing[0]}")
    return Accelerator(cpu=config.device == "cpu", log_with=list(config.trackers) or None, project_config=places)


def tracker_settings(folder: Path, trackers: Sequence[str]) -> dict[str, Any]:
    """Return settings with which the trackers add a resumed run to the log of the first one.

    The id of a run is kept in its folder, because runs of other folders can have the same name.
    """
    if "wandb" not in trackers:
        return {}
    path = folder / "run_id"
    if not path.exists():
        write_atomically(path, f"{uuid4().hex}\n".encode())
    run_id = path.read_text(encoding="utf-8").strip()
    return {"wandb": {"dir": str(folder), "name": folder.name, "id": run_id, "resume": "allow"}}


def mean_over_processes(accelerator: Accelerator, values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Average scalars over all processes. Every process must call this function."""
    stacked = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
    if accelerator.num_processes > 1:
        stacked = stacked.float().to(accelerator.device)  # some devices do not support float64
        stacked = cast(Tensor, accelerator.reduce(stacked, "mean"))
    return dict(zip(values, cast("list[float]", stacked.tolist()), strict=True))


def from_first_process(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Run a function in the first process and return its result in all. Every process must call this function."""
    values = [work() if accelerator.is_main_process else None]
    cast(Any, utils).broadcast_object_list(values)
    return cast(Result, values[0])


def to_device(batch: Iterable[Tensor], device: torch.device) -> list[Tensor]:
    """Move the tensors of a batch to a device. Images get the memory format channels last."""
    return [
        part.to(device, memory_format=torch.channels_last if part.dim() == 4 else torch.preserve_format)
        for part in batch
    ]


@contextmanager
def writing_logs(folder: Path) -> Generator[None]:
    """Raise UserError if the logs of a run cannot be written.

    TensorBoard writes in a thread, which raises the error as well. The traceback of the thread is not printed.

    Args:
        folder: The folder of the run.

    Raises:
        UserError: If the disk is full or the logs cannot be written for another reason.
    """
    before = threading.excepthook
    threading.excepthook = lambda found: None if isinstance(found.exc_value, OSError) else before(found)
    try:
        yield
    except OSError as error:
        if error.filename is not None:  # not of the logs, whose files are open
            raise
        raise UserError(
            f"cannot write the logs in {folder}: {error.strerror}; the saved state is still good, "
            "and loop.trackers=[] writes no logs"
        ) from error
    finally:
        threading.excepthook = before


@contextmanager
def on_sigterm(notice: Callable[[], None]) -> Generator[None]:
    """Call ``notice`` if the process receives SIGTERM, which clusters send before they stop a machine."""

    def handle(number: int, frame: object) -> None:  # noqa: ARG001
        notice()

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # only the main thread can handle signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
