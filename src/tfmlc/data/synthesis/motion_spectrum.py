"""The effect of a camera motion on the frequencies of an image: a description of blur that a network can predict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RADII, DIRECTIONS = (0.025, 0.05, 0.1), 8  # cycles per px; directions over half a turn, because the rest is the same
_ANGLES = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
FREQUENCIES = np.stack(
    [np.outer(RADII, np.cos(_ANGLES)).ravel(), np.outer(RADII, np.sin(_ANGLES)).ravel()], axis=1
)  # (24, 2), x and y


def motion_spectrum(homographies: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Compute the magnitude of the Fourier transform of the blur kernel at 24 frequencies, for points of an image.

    It does not depend on the position of the kernel or on the direction of time.

    Args:
        homographies: The camera motion, as ``Trajectory.homographies`` returns it, ``(instants, 3, 3)``.
        points: The points in px, ``(n, 2)``.

    Returns:
        Magnitudes ``(24, n)`` in [0, 1]: 1 if the motion keeps a frequency, 0 if the frequency is lost.

    Example:
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
    """Return the centres of the square cells of a square image, row by row: ``(n, 2)``, x and y in px.

    Incomplete cells at the right and bottom border are left out.

    >>> cell_centres(20, 8).tolist()
    [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5], [11.5, 11.5]]
    """
    along = np.arange(side_px // cell_px, dtype=np.float64) * cell_px + (cell_px - 1) / 2
    x, y = np.meshgrid(along, along)
    return np.stack([x.ravel(), y.ravel()], axis=1)
