"""Access to the pyiqa package (extra ``metrics``) without its prints and warnings."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Generator
from threading import Lock
from typing import Any

from tfmlc.runtime.processes import environment

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_one_at_a_time = Lock()


@contextlib.contextmanager
def tensors_only() -> Generator[None]:
    """Let torch load nothing but tensors, also for packages that ask it for more: weights files can contain code.

    One thread at a time is inside, because the variable that forces torch belongs to the whole process.
    """
    with _one_at_a_time, environment({FORCED: "1"}):
        yield


def pyiqa_metric(name: str, **options: Any) -> Any:
    """Create a metric of pyiqa on the CPU; ``options`` are those of ``pyiqa.create_metric``."""
    with tensors_only(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyiqa leaves files open
        import pyiqa

        return pyiqa.create_metric(name, device="cpu", **options)
