"""What a camera motion does to an image's frequencies: a description of blur that a network can learn to tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RADII, DIRECTIONS = (0.025, 0.05, 0.1), 8  # cycles per px; directions over half a turn, the other half is the same
_ANGLES = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
FREQUENCIES = np.stack(
    [np.outer(RADII, np.cos(_ANGLES)).ravel(), np.outer(RADII, np.sin(_ANGLES)).ravel()], axis=1
)  # (24, 2), x and y


def motion_spectrum(homographies: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Magnitude of the blur kernel's Fourier transform at 24 frequencies, for each point of an image.

    ``homographies`` are those of ``Trajectory``, ``(instants, 3, 3)``; ``points`` in px, ``(n, 2)``. The answer is
    ``(24, n)`` in [0, 1]: 1 where the motion leaves a frequency alone, 0 where it is lost. Where the kernel lies
    does not change it, nor does time's direction.

    >>> still = np.eye(3)[None].repeat(9, axis=0)
    >>> float(motion_spectrum(still, np.array([[5.0, 5.0]])).min())
    1.0
    """
    places = np.concatenate([points, np.ones((len(points), 1))], axis=1).T
    moved = homographies @ places
    shifts = moved[:, :2] / moved[:, 2:] - places[:2]
    phase = 2 * np.pi * np.einsum("fc,tcn->tfn", FREQUENCIES, shifts)
    return np.hypot(np.cos(phase).mean(axis=0), np.sin(phase).mean(axis=0)).astype(np.float32)


def cell_centres(side_px: int, cell_px: int) -> NDArray[np.float64]:
    """Centres of the whole square cells of a square image, row by row: ``(n, 2)``, x and y in px.

    >>> cell_centres(20, 8).tolist()
    [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5], [11.5, 11.5]]
    """
    along = np.arange(side_px // cell_px, dtype=np.float64) * cell_px + (cell_px - 1) / 2
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], axis=1)
