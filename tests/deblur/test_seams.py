"""What tiling costs networks that look at the whole image (instance norm, pooled attention), and that it never shows.

Tiles see the statistics of their own pixels instead of the whole image's, so tiled and untiled results differ
even with a wide overlap. With 64 px of overlap and tiles as small as 256 px the cost allowed here is 40 dB between
the two, or 2 % of the energy of what the network changes where it changes much (the shipped model changes these
waves by 21 dB; on a real photo the two differ by 45 dB), and on a smooth sky no step that is larger than the
network's own by half a stored value and a tenth (MPRNet's own steps, where its halves and quarters meet, are large).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import make_photo
from tfmlc.deblur import Deblurrer
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, build_network, load_network


def quiet(network: Network) -> Network:
    """The network with its last layers scaled so that it changes an image about as much as a trained one."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("last.", "tail.", "sam12.conv2", "sam23.conv2", "ending.")):
                parameter.mul_(0.1)
    return network


def networks() -> dict[str, Network]:
    torch.manual_seed(0)
    return {
        "default": load_network(find_model("default")),
        "hinet": quiet(build_network("hinet", width=8)),
        "mprnet": quiet(build_network("mprnet", width=16, unet_step=8, original_step=4, original_blocks=2)),
    }


@pytest.mark.parametrize("name", ["default", "hinet", "mprnet"])
def test_tiles_cost_little(name: str) -> None:
    network = networks()[name]
    image = torch.from_numpy(make_photo(320, 400)).permute(2, 0, 1)[None].float() / 255
    whole = Deblurrer(network, precision="fp32", tile_px=0).unguarded()(image, on_unreliable=print)
    tiled = Deblurrer(network, precision="fp32", tile_px=256, overlap_px=64).unguarded()(image, on_unreliable=print)
    change = float((whole - image).square().mean())
    assert change > 0
    assert float((whole - tiled).square().mean()) < max(1e-4, 0.02 * change)


@pytest.mark.parametrize("name", ["default", "hinet", "mprnet"])
def test_no_grid_on_a_flat_sky(name: str) -> None:
    rows = np.linspace(0.55, 0.75, 320)[:, None, None] * np.array([0.7, 0.85, 1.0])
    sky = torch.from_numpy(np.broadcast_to(rows, (320, 400, 3)).copy()).permute(2, 0, 1)[None].float()
    network = networks()[name]
    whole = Deblurrer(network, precision="fp32", tile_px=0).unguarded()(sky, on_unreliable=print)
    tiled = Deblurrer(network, precision="fp32", tile_px=256, overlap_px=64).unguarded()(sky, on_unreliable=print)
    for axis in (2, 3):  # MPRNet works on quarters and halves and has seams of its own
        steps = [float((restored - sky).diff(dim=axis).abs().max()) for restored in (tiled, whole)]
        assert steps[0] < 1.1 * steps[1] + 0.5 / 255
