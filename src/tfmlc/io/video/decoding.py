"""What a decoder gives: frames, and stretches of the video that it could not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
OnBad = Literal["stop", "skip"]


@dataclass(frozen=True)
class Damage:
    """One or more frames that are not there or cannot be trusted: why, and at what time where that is known."""

    why: str
    time_s: float | None = None


def broken_promise(found: int, promised: int) -> Damage:
    """The damage of a video that ends before the end its header names."""
    return Damage(f"ends after {found} of {promised} frames: it is cut off or damaged")
