"""Where the tests find real material, and pictures made for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the reference material is not beside this checkout")
    return SHARED


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth, colourful uint8 picture with edges, 96 x 128."""
    return make_photo(96, 128)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small pictures to train on."""
    from tfmlc.images import Picture, write_image

    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_image(folder / f"{number}.png", Picture(make_photo(120 + 8 * number, 150)))
    return folder


def make_photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 7 + y / 11), np.cos(x / 13 - y / 5), np.sin((x + y) / 17)]
    picture = np.stack(waves, axis=-1) * 0.35 + 0.5
    picture[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.1, 0.2)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
