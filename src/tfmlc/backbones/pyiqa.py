"""Access to the pyiqa package (extra ``metrics``) without its prints and warnings."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any


def pyiqa_metric(name: str, **options: Any) -> Any:
    """Create a metric of pyiqa on the CPU; ``options`` are those of ``pyiqa.create_metric``."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyiqa leaves files open
        import pyiqa

        return pyiqa.create_metric(name, device="cpu", **options)
