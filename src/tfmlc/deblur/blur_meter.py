"""How blurred an image is, and where: a score in px of motion and a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from tfmlc.deblur.modes import to_array
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.io.images import to_depth
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.weights import SHIPPED
from tfmlc.networks.spectral_unet import CELL_PX, DIRECTIONS, MOTION_FREQUENCIES, RADII, SLOPE, LocalSpectrum, conv3x3

WEIGHTS = SHIPPED / "measures" / "blurriness.safetensors"
LONGEST_PX = 25.0  # longer motion gets no higher score
CODE, HIDDEN = 96, 32
BAND_PX, AROUND_PX = 1024, 128  # rows that are measured at a time, and those around them that count, too
CONTRAST = len(RADII) * DIRECTIONS + RADII.index(0.09)  # the channel with the mean log power at 0.09 cycles per px
FAINT = 3e-4  # power below which a cell says little
SMOOTH_CELLS = 3
DTYPES = ("uint8", "uint16", "float32")


class BlurMeter(nn.Module):
    """Measures the length of the motion in each cell of 16 px, from the local spectrum of the image.

    It takes RGB images ``b 3 h w`` in [0, 1] whose sides are multiples of 16 and returns two maps ``b h/16 w/16``: the
    length of the motion in px, and the weight of each cell. A cell without contrast shows no blur and has a small
    weight. The layers ``code`` and ``motion`` are those of a spectral U-Net.
    """

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = LocalSpectrum()
        widths = (LocalSpectrum.channels, CODE, CODE)
        self.code = nn.Sequential(*(layer for width in widths for layer in (conv3x3(width, CODE), nn.LeakyReLU(SLOPE))))
        self.motion = nn.Conv2d(CODE, MOTION_FREQUENCIES, 1)
        self.register_buffer("scale", torch.ones(()))  # the head alone finds motion too short
        self.length = nn.Sequential(
            nn.Conv2d(MOTION_FREQUENCIES + LocalSpectrum.channels, HIDDEN, 1),
            nn.GELU(),
            nn.Conv2d(HIDDEN, HIDDEN, 1),
            nn.GELU(),
            nn.Conv2d(HIDDEN, 1, 1),
        )

    def features(self, rgb: Tensor) -> Tensor:
        """Return what the length is read from: the spectra of the blur and of the image, ``b 76 h/16 w/16``."""
        spectrum = self.spectrum(rgb)
        return torch.cat([torch.sigmoid(self.motion(self.code(spectrum))), spectrum], dim=1)

    def forward(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(rgb)
        length = torch.expm1(self.length(features)[:, 0].clamp(0, float(np.log1p(LONGEST_PX))))
        return self.scale * length, weights_of(features)


def weights_of(features: Tensor) -> Tensor:
    """Return the weight of each cell: its power at 0.09 cycles per px, which noise alone hardly has."""
    logarithm = 2 * features[:, MOTION_FREQUENCIES + CONTRAST] - 4
    return torch.exp(logarithm).clamp(max=1) + FAINT


@dataclass(frozen=True)
class Blurriness:
    """How blurred an image is.

    Attributes:
        score_px: The length of the motion in px, the mean over the image; parts with contrast count most.
        map_px: The length in px in each cell of 16 px, ``h/16 w/16``.
    """

    score_px: float
    map_px: NDArray[np.float32]


def blurriness(image: Tensor | NDArray[Any] | Image.Image) -> Blurriness:
    """Measure how blurred an image is, and where.

    The length was calibrated on synthetic motion of known length. Motion of more than 20 px gets scores of about 20.
    An image out of focus is blurred, too.

    Args:
        image: A float tensor ``3 h w`` in [0, 1], a uint8 or uint16 array ``h w c`` or ``h w``, or a PIL image.

    Returns:
        The score and the map.

    Raises:
        UserError: If the image has another type or shape.

    Example:
        >>> sharp = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        >>> moved = cv2.blur(sharp, (15, 1))
        >>> blurriness(sharp).score_px < 4 < blurriness(moved).score_px
        True
        >>> blurriness(moved).map_px.shape
        (8, 12)
    """
    if isinstance(image, Tensor):
        if image.dim() != 3 or image.shape[0] != 3 or not image.is_floating_point():
            raise UserError(f"an image tensor must be float 3 h w, not {image.dtype} {tuple(image.shape)}")
        return blurriness_of_pixels(image.detach().float().cpu().clamp(0, 1).permute(1, 2, 0).numpy())
    array = to_array(image) if isinstance(image, Image.Image) else image
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or str(pixels.dtype) not in DTYPES or not pixels.size:
        raise UserError(f"an image array must be uint8 or uint16 h w c, not {array.dtype} {array.shape}")
    return blurriness_of_pixels(pixels)


def blurriness_of_pixels(pixels: NDArray[Any]) -> Blurriness:
    """Measure the pixels of a file that ``read_image`` read: uint8, uint16 or float32 in [0, 1], ``h w c``."""
    colours = 1 if pixels.shape[2] <= 2 else 3
    height, width = (max(side // CELL_PX, 1) * CELL_PX for side in pixels.shape[:2])
    lengths: list[Tensor] = []
    weights: list[Tensor] = []
    for start in range(0, height, BAND_PX):
        first, stop = max(0, start - AROUND_PX), min(height, start + BAND_PX)
        band = np.asarray(to_depth(pixels[first : stop + AROUND_PX, :width, :colours], 8), np.uint8)
        missing = [(0, max(0, side - has)) for side, has in zip((stop - first, width), band.shape[:2], strict=True)]
        band = np.pad(band, [*missing, (0, 0)], mode="edge")  # an image of less than a cell
        band = band[: band.shape[0] // CELL_PX * CELL_PX].repeat(3 // colours, axis=2)
        rows = slice((start - first) // CELL_PX, (stop - first) // CELL_PX)
        with torch.inference_mode():
            length, weight = _meter()(to_tensor(band)[None])
        lengths.append(length[0, rows])
        weights.append(weight[0, rows])
    length, weight = (np.asarray(torch.cat(maps).numpy(), np.float32) for maps in (lengths, weights))
    score = float((length * weight).sum() / weight.sum())
    around = (SMOOTH_CELLS, SMOOTH_CELLS)
    smooth = cv2.blur(length * weight, around) / cv2.blur(weight, around)  # cells without contrast follow the others
    return Blurriness(score, np.asarray(smooth, np.float32))


@cache
def _meter() -> BlurMeter:
    with torch.device("cpu"):
        meter = BlurMeter().float()
    tensors, _ = read_tensors(WEIGHTS)
    meter.load_state_dict({name: value.float() for name, value in tensors.items()})
    return meter.eval()
