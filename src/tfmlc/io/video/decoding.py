"""What a decoder yields: frames, and damage where frames cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Frame = NDArray[np.uint8]
OnBad = Literal["stop", "skip"]


@dataclass(frozen=True)
class Damage:
    """One or more frames that are missing or damaged: the reason and, if it is known, the time."""

    why: str
    time_s: float | None = None


def broken_promise(found: int, promised: int) -> Damage:
    """Return the damage of a video with fewer frames than its header says."""
    return Damage(f"ends after {found} of {promised} frames: it is cut off or damaged")


def as_file(path: Path) -> str:
    """Return the name under which FFmpeg opens a file: in a relative name, what is before a colon is a protocol."""
    return str(path.absolute())


def upright(pixels: NDArray[Any], frame: VideoFrame) -> NDArray[Any]:
    """Return the pixels of a stored frame as they are shown: phones store how they were held."""
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
