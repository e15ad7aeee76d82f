"""Access to the pyiqa package (extra ``metrics``) without its prints and warnings."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Generator
from threading import Lock
from typing import Any

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_one_at_a_time = Lock()


@contextlib.contextmanager
def tensors_only() -> Generator[None]:
    """Let torch load nothing but tensors, also for packages that ask it for more: weights files can contain code.

    One thread at a time is inside, because the variable that forces torch belongs to the whole process.
    """
    with _one_at_a_time:
        before = os.environ.get(FORCED)
        os.environ[FORCED] = "1"
        try:
            yield
        finally:
            os.environ.pop(FORCED, None)
            if before is not None:
                os.environ[FORCED] = before


def pyiqa_metric(name: str, **options: Any) -> Any:
    """Create a metric of pyiqa on the CPU; ``options`` are those of ``pyiqa.create_metric``."""
    with tensors_only(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyiqa leaves files open
        import pyiqa

        return pyiqa.create_metric(name, device="cpu", **options)
