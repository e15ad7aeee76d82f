"""What a decoder yields: frames, and damage where frames cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
