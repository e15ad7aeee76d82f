"""Deblurring of images in memory, and of files and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfmlc.deblur.deblurrer import Deblurrer, UnreliableResultWarning

__all__ = ["Deblurrer", "UnreliableResultWarning"]


def __getattr__(name: str) -> Any:
    """Import the deblurrer when it is first used, because planning a batch does not need torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tfmlc.deblur.deblurrer import Deblurrer, UnreliableResultWarning

    return {"Deblurrer": Deblurrer, "UnreliableResultWarning": UnreliableResultWarning}[name]
