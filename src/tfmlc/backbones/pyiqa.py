"""Metrics and losses of the pyiqa package (extra ``metrics``), made without its prints."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any, cast


def pyiqa_metric(name: str, **options: Any) -> Any:
    """A metric of pyiqa on the CPU, made without its prints and warnings; raises whatever pyiqa does."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it leaves files open
        import pyiqa  # pyright: ignore[reportMissingTypeStubs]

        return cast(Any, pyiqa).create_metric(name, device="cpu", **options)
