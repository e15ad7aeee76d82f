"""Synthetic motion blur of one sharp image: a moving camera, moving objects, averaged light and sensor noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tfmlc.config import Config
from tfmlc.data.synthesis.camera_motion import Trajectory, sample_trajectory
from tfmlc.data.synthesis.windows import BlurWindow

Image8 = NDArray[np.uint8]
ImageF = NDArray[np.float32]
LINEAR_GAMMA = 2.2


class BlurConfig(Config):
    """The settings of synthetic blur. A pair of numbers is the range (lowest, highest) from which a value is drawn."""

    strength_px: tuple[float, float] = Field(
        default=(4.0, 32.0), description="mean motion of the image during the exposure, in px"
    )
    exposure: tuple[float, float] = Field(default=(0.2, 1.2), description="exposure time, in periods of hand tremor")
    direction_deg: tuple[float, float] = Field(
        default=(-90.0, 90.0), description="direction of the motion, as an angle from the x to the y axis"
    )
    turning: float = Field(default=1.0, ge=0, description="factor on roll, zoom and tilt; 0: the camera only shifts")
    sub_exposures: tuple[int, int] = Field(
        default=(9, 41), description="number of instants that are averaged; about one per px of motion is used"
    )
    moving_patches: tuple[int, int] = Field(
        default=(0, 3), description="number of objects that move independently of the camera"
    )
    light: Literal["stored", "linear", "mixed"] = Field(
        default="stored", description="what is averaged: stored values or linear light; mixed: one of the two at random"
    )
    highlight_gain: tuple[float, float] = Field(
        default=(1.0, 1.0),
        description="factor on the light of clipped areas, such as lamps, for bright streaks",
    )
    shot_noise: tuple[float, float] = Field(
        default=(0.0, 1e-4), description="variance of the Poisson noise at full signal"
    )
    read_noise: tuple[float, float] = Field(
        default=(0.0, 0.004), description="standard deviation of the Gaussian noise"
    )
    jpeg_quality: tuple[int, int] | None = Field(
        default=None, description="JPEG quality of the blurry image; None: no JPEG"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> BlurConfig:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple):
                low, high = cast("tuple[float, float]", value)
                if not low <= high:
                    raise ValueError(f"{name} goes from {low} to {high}: give the lower end first")
                least = 3 if name == "sub_exposures" else -90 if name == "direction_deg" else 0
                if low < least:
                    raise ValueError(f"{name} begins at {low}: the least value is {least}")
        return self


@dataclass(frozen=True)
class BlurRecord:
    """The values that were drawn for one image, for its row in the manifest.

    Attributes:
        trajectory: The camera motion.
        strength_px: The mean motion of the image during the exposure.
        light: ``"stored"`` or ``"linear"``.
        moving_patches: The number of moving objects.
    """

    trajectory: Trajectory
    strength_px: float
    light: str
    moving_patches: int


def blur_image(
    sharp: Image8, config: BlurConfig, rng: np.random.Generator, *, margin_px: int = 0
) -> tuple[Image8, Image8, BlurRecord]:
    """Blur an image as a moving camera does.

    The sharp image is the middle of the exposure, so the two images are aligned.

    Args:
        sharp: The image, RGB uint8 ``h w 3``.
        config: The settings of the blur.
        rng: The source of randomness.
        margin_px: The width of a margin that is cut from both results. The content of the margin moves into the image.
            Without a margin, the border of the image is reflected.

    Returns:
        The blurry and the sharp image, uint8 ``h w 3``, and the values that were drawn. The sharp image shows the
        moving objects too.

    Example:
        >>> photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        >>> blurry, sharp, record = blur_image(photo, BlurConfig(strength_px=(8, 8)), np.random.default_rng(1))
        >>> blurry.shape, round(record.strength_px, 1)
        ((40, 60, 3), 8.0)
    """
    levels, sharp, record = blur_levels(sharp, config, rng, levels=1, margin_px=margin_px)
    return levels[0], sharp, record


def blur_levels(
    sharp: Image8,
    config: BlurConfig,
    rng: np.random.Generator,
    *,
    levels: int,
    margin_px: int = 0,
    only: int | None = None,
) -> tuple[list[Image8], Image8, BlurRecord]:
    """Blur an image as ``blur_image`` does, with several exposures of increasing length around the same instant.

    Args:
        sharp: The image, RGB uint8 ``h w 3``.
        config: The settings of the blur.
        rng: The source of randomness.
        levels: The number of blurry images. The last is the whole exposure; the others are parts of it, as
            ``BlurWindow.level`` takes them from a video.
        margin_px: As in ``blur_image``.
        only: The only level to make, from 1 to ``levels``, or 0 for the sharp image alone; by default all.

    Returns:
        The blurry images from the weakest to the strongest blur, the sharp image, and the values that were drawn.
    """
    height, width = sharp.shape[:2]
    trajectory, strength = _draw_motion(config, rng, (width, height))
    instants = len(trajectory.poses)
    linear = config.light == "linear" or (config.light == "mixed" and rng.random() < 0.5)
    light = _to_light(sharp, LINEAR_GAMMA if linear else 1.0)
    light = _raise_highlights(light, _between(rng, config.highlight_gain))
    window = (margin_px, margin_px, width - 2 * margin_px, height - 2 * margin_px)
    patches = [
        _moving_patch(rng, light, config, instants)
        for _ in range(int(rng.integers(config.moving_patches[0], config.moving_patches[1] + 1)))
    ]
    wanted = [level for level in range(1, levels + 1) if only in (None, level)]
    spans = [BlurWindow(0, instants, strength).level(level, levels) for level in wanted]
    totals, middle = _integrate(light, trajectory, patches, window, spans)
    gamma = LINEAR_GAMMA if linear else 1.0
    blurry = [
        _expose(total / np.float32(stop - start) if stop > start else middle, config, rng, gamma)
        for total, (start, stop) in zip(totals, spans, strict=True)
    ]
    record = BlurRecord(trajectory, strength, "linear" if linear else "stored", len(patches))
    return blurry, _to_8bit(middle, gamma), record


def _integrate(
    light: ImageF,
    trajectory: Trajectory,
    patches: Sequence[_Patch],
    window: tuple[int, int, int, int],
    spans: Sequence[tuple[int, int]],
) -> tuple[list[ImageF], ImageF]:
    """Sum the light of the instants of each span; return the sums and the light of the middle instant."""
    middle = len(trajectory.poses) // 2
    needed = {middle}.union(*(range(*span) for span in spans))
    totals = [np.zeros((window[3], window[2], 3), np.float32) for _ in spans]
    kept: list[ImageF] = []
    for instant, camera in enumerate(trajectory.homographies()):
        if instant not in needed:
            continue
        frame = _warp(light, camera, window)
        for patch in patches:
            _paint(frame, patch, instant, window)
        if instant == middle:
            kept.append(frame)
        for total, (start, stop) in zip(totals, spans, strict=True):
            if start <= instant < stop:
                cv2.accumulate(frame, total)
    return totals, kept[0]


def _draw_motion(config: BlurConfig, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Trajectory, float]:
    """Draw the camera motion of an image and its strength in px."""
    strength = _between(rng, config.strength_px)
    instants = int(np.clip(round(strength), *config.sub_exposures)) | 1
    trajectory = sample_trajectory(
        rng,
        size,
        strength_px=strength,
        exposure=_between(rng, config.exposure),
        instants=instants,
        direction_deg=_between(rng, config.direction_deg),
        turning=config.turning,
    )
    return trajectory, strength


@dataclass(frozen=True)
class _Patch:
    light: ImageF  # h w 3
    opacity: ImageF  # h w, soft-edged
    corners: NDArray[np.float64]  # (n, 2): the position of its top left corner at each instant, in px


def _moving_patch(rng: np.random.Generator, light: ImageF, config: BlurConfig, instants: int) -> _Patch:
    """Cut a blob with soft edges out of the image, and draw a path for it."""
    height, width = map(int, light.shape[:2])
    side = max(8, int(min(height, width) * rng.uniform(0.12, 0.45)))
    tall, wide = min(side, height), min(int(side * rng.uniform(0.5, 1.5)) + 1, width)
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    strength = _between(rng, config.strength_px)
    motion = sample_trajectory(rng, (wide, tall), strength_px=strength, exposure=0.3, instants=instants).poses[:, :2]
    start = np.array([rng.uniform(0, width - wide + 1), rng.uniform(0, height - tall + 1)])
    y, x = np.mgrid[-1 : 1 : tall * 1j, -1 : 1 : wide * 1j]
    angle, lobes = np.arctan2(y, x), int(rng.integers(2, 6))
    outline = 0.8 + 0.15 * np.sin(lobes * angle + rng.uniform(0, 2 * np.pi))
    softness = 3.0 / max(min(tall, wide), 3)
    opacity = np.clip((outline - np.hypot(x, y)) / softness, 0, 1).astype(np.float32)
    return _Patch(light[top : top + tall, left : left + wide].copy(), opacity, start + motion)


def _paint(frame: ImageF, patch: _Patch, instant: int, window: tuple[int, int, int, int]) -> None:
    """Paint a patch over a frame at its position at an instant, with sub-pixel accuracy."""
    left, top, width, height = window
    x, y = patch.corners[instant] - (left, top)
    column, row = int(np.floor(x)), int(np.floor(y))
    tall, wide = patch.opacity.shape
    first_x, last_x = max(column, 0), min(column + wide + 1, width)
    first_y, last_y = max(row, 0), min(row + tall + 1, height)
    if first_x >= last_x or first_y >= last_y:
        return
    inside = (first_x, first_y, last_x - first_x, last_y - first_y)
    shift = np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])
    colour = _warp(patch.light, shift, inside)
    opacity = _warp(patch.opacity, shift, inside, outside=cv2.BORDER_CONSTANT)[..., None]
    under = frame[first_y:last_y, first_x:last_x]
    under += opacity * (colour - under)


def _warp(
    image: ImageF, homography: NDArray[np.float64], window: tuple[int, int, int, int], *, outside: int = -1
) -> ImageF:
    """Warp an image by a homography with cubic interpolation; return only ``window`` (x, y, width, height) of it."""
    left, top, width, height = window
    to_window = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    mirror = cv2.BORDER_REFLECT_101 if min(image.shape[:2]) > 1 else cv2.BORDER_REPLICATE  # one row cannot be reflected
    border = mirror if outside < 0 else outside
    warped = cv2.warpPerspective(
        image, to_window @ homography, (width, height), flags=cv2.INTER_CUBIC, borderMode=border
    )
    return np.asarray(warped, np.float32)


def _between(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(rng.uniform(*limits))


def _to_light(stored: Image8, gamma: float) -> ImageF:
    """Convert stored values to light in [0, 1]."""
    table = (np.arange(256) / 255.0) ** gamma
    return table.astype(np.float32)[stored]


def _to_8bit(light: ImageF, gamma: float) -> Image8:
    return np.rint(np.clip(light, 0, 1) ** (1 / gamma) * 255).astype(np.uint8)


def _raise_highlights(light: ImageF, gain: float) -> ImageF:
    """Increase the light of nearly clipped areas, where the photo has lost light, to get bright streaks of lamps."""
    if gain <= 1:
        return light
    brightest = light.max(axis=2, keepdims=True)
    return light * (1 + (gain - 1) * np.clip((brightest - 0.9) / 0.1, 0, 1))


def _expose(light: ImageF, config: BlurConfig, rng: np.random.Generator, gamma: float) -> Image8:
    """Convert light to a stored image as a camera does: clipping, Poisson-Gaussian noise, 8 bits and JPEG."""
    clipped = np.clip(light, 0, 1)
    shot, read = _between(rng, config.shot_noise), _between(rng, config.read_noise)
    std = np.sqrt(shot * clipped + read**2).astype(np.float32)
    noisy = np.asarray(clipped + std * rng.standard_normal(clipped.shape, dtype=np.float32), np.float32)
    stored = _to_8bit(noisy, gamma)
    if config.jpeg_quality is None:
        return stored
    quality = int(rng.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
    return as_jpeg(stored, quality)


def as_jpeg(image: Image8, quality: int) -> Image8:
    """Return what a JPEG of a quality from 1 to 100 makes of an image ``h w 3``.

    >>> as_jpeg(np.full((8, 8, 3), 100, np.uint8), 90)[0, 0].tolist()
    [100, 100, 100]
    """
    _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
