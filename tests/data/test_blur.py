"""Laws of the simulated camera: centred, as strong as asked, seeded, brighter never, flat stays flat."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_photo
from tfmlc.config import checked
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.data.synthesis.camera_motion import sample_trajectory
from tfmlc.data.synthesis.motion_spectrum import FREQUENCIES, cell_centres, motion_spectrum
from tfmlc.deblur.sharpness import sharpness
from tfmlc.errors import UserError

QUIET = {"shot_noise": (0, 0), "read_noise": (0, 0), "moving_patches": (0, 0)}


def trajectory(seed: int, **options: object):
    settings = {"size": (200, 150), "strength_px": 20.0, "exposure": 0.6, "instants": 21, **options}
    return sample_trajectory(np.random.default_rng(seed), **settings)


@pytest.mark.parametrize("strength", [0.5, 3, 12, 40])
@pytest.mark.parametrize("exposure", [0.1, 0.6, 1.5])
def test_strength_is_the_mean_path(strength: float, exposure: float) -> None:
    for seed in range(8):
        path = trajectory(seed, strength_px=strength, exposure=exposure)
        assert path.strength_px == pytest.approx(strength, rel=1e-3)
        assert np.allclose(path.homographies()[10], np.eye(3), atol=1e-12)


def test_short_exposures_are_straight_and_long_ones_wander() -> None:
    def straightness(exposure: float) -> float:
        ratios = []
        for seed in range(40):
            shift = trajectory(seed, exposure=exposure, turning=0.0).poses[:, :2]
            ratios.append(np.linalg.norm(shift[-1] - shift[0]) / np.linalg.norm(np.diff(shift, axis=0), axis=1).sum())
        return float(np.mean(ratios))

    assert straightness(0.1) > 0.95 > straightness(0.8) > straightness(2.0)


@pytest.mark.parametrize("direction", [-90, -30, 0, 45])
def test_direction(direction: float) -> None:
    shift = trajectory(3, direction_deg=direction, turning=0.0).poses[:, :2]
    across = shift[-1] - shift[0]
    assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(direction, abs=1e-6)


def test_without_turning_every_pixel_moves_alike() -> None:
    lengths = trajectory(5, turning=0.0).path_lengths_px()
    assert np.ptp(lengths) < 1e-9
    assert np.ptp(trajectory(5).path_lengths_px()) > 1


@pytest.mark.parametrize("instants", [1, 2, 10])
def test_an_exposure_has_a_middle(instants: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        trajectory(0, instants=instants)


@pytest.mark.parametrize("light", ["stored", "linear", "mixed"])
def test_same_seed_same_pair(photo: np.ndarray, light: str) -> None:
    config = BlurConfig(light=light, jpeg_quality=(40, 90))
    one, two, other = (blur_image(photo, config, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("light", ["stored", "linear"])
def test_more_motion_less_sharp(light: str) -> None:
    photo = make_photo(160, 200)
    mean = [
        np.mean(
            [
                sharpness(
                    blur_image(photo, BlurConfig(strength_px=(s, s), light=light, **QUIET), np.random.default_rng(i))[0]
                )
                for i in range(6)
            ]
        )
        for s in (2, 6, 14, 30)
    ]
    assert mean == sorted(mean, reverse=True)


def test_the_sharp_partner_is_the_photo_itself(photo: np.ndarray) -> None:
    _, sharp, _ = blur_image(photo, BlurConfig(**QUIET), np.random.default_rng(0))
    assert np.array_equal(sharp, photo)


@pytest.mark.parametrize("value", [0, 77, 255])
@pytest.mark.parametrize("light", ["stored", "linear"])
def test_a_flat_picture_stays_flat(value: int, light: str) -> None:
    flat = np.full((50, 60, 3), value, np.uint8)
    blurry, sharp, _ = blur_image(
        flat, BlurConfig(light=light, shot_noise=(0, 0), read_noise=(0, 0)), np.random.default_rng(4)
    )
    assert np.abs(blurry.astype(int) - value).max() <= 1
    assert np.abs(sharp.astype(int) - value).max() <= 1


def test_light_adds_up_brighter_in_linear_averaging() -> None:
    """A lamp on black leaves a brighter streak when light is averaged instead of stored values."""
    night = np.zeros((60, 60, 3), np.uint8)
    night[28:32, 28:32] = 255
    streaks = [
        blur_image(night, BlurConfig(strength_px=(20, 20), light=light, **QUIET), np.random.default_rng(2))[0].sum()
        for light in ("stored", "linear")
    ]
    assert streaks[1] > 1.2 * streaks[0]


def test_highlights_clip_after_they_are_averaged() -> None:
    night = np.zeros((60, 60, 3), np.uint8)
    night[26:34, 26:34] = 255
    config = BlurConfig(strength_px=(10, 10), light="linear", **QUIET)
    plain = blur_image(night, config, np.random.default_rng(2))
    lit = blur_image(night, config.model_copy(update={"highlight_gain": (4.0, 4.0)}), np.random.default_rng(2))
    assert lit[0].sum() > plain[0].sum()
    assert np.array_equal(lit[1], plain[1])


def test_noise_has_the_variance_asked_for() -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    config = BlurConfig(shot_noise=(4e-4, 4e-4), read_noise=(0.01, 0.01), moving_patches=(0, 0))
    blurry, _, _ = blur_image(flat, config, np.random.default_rng(0))
    expected = 4e-4 * 128 / 255 + 0.01**2 + 1 / (12 * 255**2)
    assert (blurry / 255).var() == pytest.approx(expected, rel=0.05)


def test_moving_patches_blur_differently_from_the_rest() -> None:
    photo = make_photo(160, 200)
    still = BlurConfig(strength_px=(12, 12), **QUIET)
    moved = still.model_copy(update={"moving_patches": (3, 3)})
    plain, patched = (blur_image(photo, config, np.random.default_rng(9)) for config in (still, moved))
    assert patched[2].moving_patches == 3
    assert not np.array_equal(plain[1], patched[1])
    assert not np.array_equal(plain[0], patched[0])


def test_margin_is_cut_from_both(photo: np.ndarray) -> None:
    blurry, sharp, _ = blur_image(photo, BlurConfig(**QUIET), np.random.default_rng(0), margin_px=16)
    assert blurry.shape == sharp.shape == (64, 96, 3)
    assert np.array_equal(sharp, photo[16:-16, 16:-16])


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (7, 7)])
def test_tiny_pictures(size: tuple[int, int]) -> None:
    blurry, sharp, _ = blur_image(make_photo(*size), BlurConfig(moving_patches=(2, 2)), np.random.default_rng(0))
    assert blurry.shape == sharp.shape == (*size, 3)


def test_spectrum_is_that_of_the_blur() -> None:
    """The kernel's spectrum, measured by blurring waves, is what the trajectory says."""
    rng = np.random.default_rng(2)
    path = sample_trajectory(rng, (129, 129), strength_px=9.0, exposure=0.6, instants=21, turning=0)
    told = motion_spectrum(path.homographies(), np.array([[64.0, 64.0]]))[:, 0]
    shifts = path.poses[:, :2]
    for number, (across, down) in enumerate(FREQUENCIES):
        waves = [np.exp(2j * np.pi * (across * x + down * y)) for x, y in shifts]
        assert told[number] == pytest.approx(abs(np.mean(waves)), abs=1e-3)
    assert motion_spectrum(np.eye(3)[None].repeat(9, axis=0), cell_centres(64, 16)).min() == pytest.approx(1)


@pytest.mark.parametrize(
    "ranges",
    [{"strength_px": (30, 10)}, {"moving_patches": (3, 0)}, {"sub_exposures": (1, 1)}, {"read_noise": (-1, 0)}],
)
def test_ranges_that_make_no_sense(ranges: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(UserError, match=next(iter(ranges))):
        checked(BlurConfig, ranges)
