"""Random camera motion during one exposure, as a sequence of homographies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Standard deviation of the motion that each degree of freedom causes, relative to that of the shift.
ROLL, ZOOM, TILT = 0.35, 0.12, 0.12
SMALLEST_HALF_PX = 16.0
# Hand tremor: frequencies in cycles per tremor period. The amplitudes fall as a power of the frequency.
FREQUENCIES = np.array([0.2, 0.5, 1.0, 2.0])
DECAY = 1.6


@dataclass(frozen=True)
class Trajectory:
    """The poses of a camera during one exposure. The number of instants is odd, and the middle pose is the identity.

    Attributes:
        poses: An array (n, 6). The columns are the shifts along x and y in px, the roll in radians, the logarithm of
            the zoom, and the tilts about the vertical and the horizontal axis as relative depth per half image.
        width: The width of the image in px.
        height: The height of the image in px.
    """

    poses: NDArray[np.float64]
    width: int
    height: int

    def homographies(self) -> NDArray[np.float64]:
        """Return the maps from pixel coordinates of the sharp image to those at each instant, (n, 3, 3)."""
        half = half_size(self.width, self.height)
        shift_x, shift_y, roll, zoom, tilt_x, tilt_y = self.poses.T
        scale, one = np.exp(zoom), np.ones(len(roll))
        cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
        rows = [cosine, -sine, shift_x, sine, cosine, shift_y, tilt_x / half, tilt_y / half, one]
        about_centre = np.stack(rows, axis=-1).reshape(-1, 3, 3)
        centre = np.array([[1, 0, (self.width - 1) / 2], [0, 1, (self.height - 1) / 2], [0, 0, 1]])
        return centre @ about_centre @ np.linalg.inv(centre)

    def path_lengths_px(self) -> NDArray[np.float64]:
        """Return the lengths of the paths of nine points of the image, in px."""
        x = np.array([0.0, 0.5, 1.0]) * (self.width - 1)
        y = np.array([0.0, 0.5, 1.0]) * (self.height - 1)
        points = np.stack([*np.broadcast_arrays(x[None, :], y[:, None], 1.0)]).reshape(3, -1)
        moved = self.homographies() @ points
        moved = moved[:, :2] / moved[:, 2:]
        return np.linalg.norm(np.diff(moved, axis=0), axis=1).sum(axis=0)

    @property
    def strength_px(self) -> float:
        """The mean motion of the image during the exposure, in px."""
        return float(self.path_lengths_px().mean())


def half_size(width: int, height: int) -> float:
    """Return half the longer side in px, with a minimum that limits the motion of tiny images."""
    return max(max(width, height) / 2, SMALLEST_HALF_PX)


def random_walk(rng: np.random.Generator, instants: int, exposure: float) -> NDArray[np.float64]:
    """Draw a smooth random path of ``instants`` points over ``exposure`` tremor periods. Its middle is zero."""
    time = np.linspace(-exposure / 2, exposure / 2, instants)
    amplitude = rng.normal(size=len(FREQUENCIES)) / FREQUENCIES**DECAY
    phase = rng.uniform(0, 2 * np.pi, len(FREQUENCIES))
    path = np.sin(2 * np.pi * FREQUENCIES * time[:, None] + phase) @ amplitude
    return path - path[instants // 2]


def sample_trajectory(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    strength_px: float,
    exposure: float,
    instants: int,
    direction_deg: float | None = None,
    turning: float = 1.0,
) -> Trajectory:
    """Draw a random camera motion of a given strength.

    Args:
        rng: The source of randomness.
        size: The width and height of the image in px.
        strength_px: The mean length of the paths of image points, in px.
        exposure: The exposure time in periods of hand tremor. Short exposures give straight paths.
        instants: The number of instants, an odd number.
        direction_deg: The direction from the start of the shift to its end, as an angle from the x to the y axis. None
            draws one.
        turning: A factor on roll, zoom and tilt.

    Returns:
        The motion.

    Raises:
        ValueError: If ``instants`` is even or less than 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> path = sample_trajectory(rng, (64, 48), strength_px=12.0, exposure=1.0, instants=15)
        >>> round(path.strength_px, 2), path.poses[7].tolist()
        (12.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    if instants < 3 or instants % 2 == 0:
        raise ValueError(f"instants={instants} must be an odd number, at least 3")
    width, height = size
    half = half_size(width, height)
    spread = np.array([1, 1, *(turning / half * np.array([ROLL, ZOOM, TILT, TILT]))])
    poses = np.stack([random_walk(rng, instants, exposure) for _ in spread], axis=1) * spread
    if direction_deg is not None:
        across = poses[-1, :2] - poses[0, :2]
        angle = np.radians(direction_deg) - np.arctan2(across[1], across[0])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        poses[:, :2] = poses[:, :2] @ turn
    for _ in range(4):  # the path length is nearly proportional to the poses, so a few corrections are enough
        trajectory = Trajectory(poses, width, height)
        poses = poses * (strength_px / max(trajectory.strength_px, 1e-9))
    return Trajectory(poses, width, height)
