"""Deblurring of images in memory, of files and folders, and of videos."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfmlc.deblur.deblurrer import Deblurrer, UnreliableResultWarning
    from tfmlc.deblur.video import VideoResult, VideoSettings, deblur_video

__all__ = ["Deblurrer", "UnreliableResultWarning", "VideoResult", "VideoSettings", "deblur_video"]
OF_VIDEO = ("VideoResult", "VideoSettings", "deblur_video")


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, because planning a batch does not need torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tfmlc.deblur.{'video' if name in OF_VIDEO else 'deblurrer'}"), name)
