"""Deblurring of images in memory, of files and folders, and of videos."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfmlc.deblur.blur_meter import Blurriness, blurriness
    from tfmlc.deblur.deblurrer import Deblurrer, UnreliableResultWarning
    from tfmlc.deblur.video import VideoResult, VideoSettings, deblur_video

__all__ = [
    "Blurriness",
    "Deblurrer",
    "UnreliableResultWarning",
    "VideoResult",
    "VideoSettings",
    "blurriness",
    "deblur_video",
]
MODULES = {
    "Blurriness": "blur_meter",
    "blurriness": "blur_meter",
    "Deblurrer": "deblurrer",
    "UnreliableResultWarning": "deblurrer",
    "VideoResult": "video",
    "VideoSettings": "video",
    "deblur_video": "video",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, because planning a batch does not need torch."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tfmlc.deblur.{MODULES[name]}"), name)
