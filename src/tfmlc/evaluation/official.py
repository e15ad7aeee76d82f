"""How the official code of a network restores an image, written anew, for comparable scores and times.

HINet's code cuts the image into crops of 256 px that just cover it, runs at most eight at a time and takes the uniform
mean where crops overlap. MPRNet's and NAFNet's code run the whole image, which each network pads in its own way. All
of it is fp32, in torch's default memory format.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tfmlc.networks import Network
from tfmlc.networks.catalog import family_of

CROP_PX, MOST_CROPS = 256, 8


@torch.inference_mode()
def official_inference(network: Network, blurry: Tensor) -> Tensor:
    """Restore an image as the official code does.

    Args:
        network: The network, in evaluation mode and torch's default memory format.
        blurry: The image, ``1 3 h w`` in [0, 1], on the device of the network.

    Returns:
        The restored image, ``1 3 h w``, which can leave [0, 1].

    Example:
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8, depth=2, normalised_levels=(1, 2)).eval()
        >>> official_inference(network, torch.rand(1, 3, 40, 300)).shape
        torch.Size([1, 3, 40, 300])
    """
    if family_of(network.info.name) == "hinet":
        return _by_crops(network, blurry)
    return network(blurry)[-1]


def _by_crops(network: Network, blurry: Tensor) -> Tensor:
    places = [
        (slice(top, top + CROP_PX), slice(left, left + CROP_PX))
        for top in _starts(blurry.shape[-2])
        for left in _starts(blurry.shape[-1])
    ]
    total, count = torch.zeros_like(blurry), torch.zeros_like(blurry[:, :1])
    for first in range(0, len(places), MOST_CROPS):
        some = places[first : first + MOST_CROPS]
        restored = network(torch.cat([blurry[:, :, rows, columns] for rows, columns in some]))[-1]
        for (rows, columns), crop in zip(some, restored, strict=True):
            total[0, :, rows, columns] += crop
            count[0, :, rows, columns] += 1
    return total / count


def _starts(length: int) -> list[int]:
    """Return where crops start that just cover a line, evenly spread."""
    if length <= CROP_PX:
        return [0]
    number = -(-length // CROP_PX)
    return [int(start) for start in np.linspace(0, length - CROP_PX, number)]
