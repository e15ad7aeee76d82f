"""What tells a restored image from the sharp one besides blur: small shifts, noise, JPEG, exposure and colour."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from torch import Tensor

from tfmlc.config import Config
from tfmlc.data.synthesis.blur import as_jpeg
from tfmlc.io.images.tensors import to_tensor


class Nuisance(Config):
    """How much the images of a triplet differ in other things than blur. Each image draws a strength from 0 to 1."""

    shift_px: int = Field(default=3, ge=0, description="largest shift of an image against the others, in px")
    noise: float = Field(default=0.03, ge=0, description="largest standard deviation of the noise")
    jpeg_quality: int = Field(default=40, ge=1, le=100, description="lowest JPEG quality")
    exposure: float = Field(default=0.1, ge=0, lt=1, description="largest relative change of brightness")
    colour: float = Field(default=0.05, ge=0, lt=1, description="largest relative change of each colour channel")
    hard_fraction: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="fraction of the triplets whose strongest blur is left alone while the others are disturbed most",
    )


def strengths_of(members: int, nuisance: Nuisance, rng: np.random.Generator) -> list[float]:
    """Draw how strongly each image of a triplet is disturbed.

    Args:
        members: The number of images, the sharp image first.
        nuisance: The settings.
        rng: The source of randomness.

    Returns:
        A strength from 0 to 1 for each image.

    Example:
        >>> strengths_of(4, Nuisance(hard_fraction=1), np.random.default_rng(0))
        [0.0, 1.0, 1.0, 0.0]
    """
    if rng.random() < nuisance.hard_fraction:
        return [0.0, *[1.0] * (members - 2), 0.0]
    return [float(strength) for strength in rng.random(members)]


def disturbed(image: Tensor, strength: float, nuisance: Nuisance, rng: np.random.Generator) -> Tensor:
    """Change the exposure and the colours of an image, add noise and code it as JPEG.

    The shift is not done here, because it needs the surroundings of the image.

    Args:
        image: The image, ``3 h w`` in [0, 1].
        strength: How strongly, from 0 to 1. At 0 the image is returned as it is.
        nuisance: The settings at strength 1.
        rng: The source of randomness.

    Returns:
        The image, ``3 h w`` in [0, 1].

    Example:
        >>> import torch
        >>> image = torch.rand(3, 16, 16)
        >>> bool((disturbed(image, 1.0, Nuisance(), np.random.default_rng(0)) == image).all())
        False
    """
    if strength == 0:
        return image
    gains = 1 + strength * (nuisance.exposure * rng.uniform(-1, 1) + nuisance.colour * rng.uniform(-1, 1, (3, 1, 1)))
    noise = strength * nuisance.noise * rng.standard_normal(image.shape)
    changed = np.clip(image.numpy() * gains + noise, 0, 1)
    quality = round(100 - strength * (100 - nuisance.jpeg_quality))
    return to_tensor(as_jpeg(np.rint(255 * changed.transpose(1, 2, 0)).astype(np.uint8), quality))
