"""Local statistics are the whole image's in small images, and the window's in large ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tfmlc.errors import UserError
from tfmlc.networks import build_network
from tfmlc.networks.local_statistics import LocalInstanceNorm, local_mean, with_local_statistics

SMALL = {
    "hinet": {"width": 8, "depth": 3, "normalised_levels": (1, 2)},
    "mprnet-lite": {"width": 8, "unet_step": 4, "original_step": 4},
    "nafnet": {"width": 8, "middle_blocks": 1, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)},
}


def test_means_are_those_of_the_windows() -> None:
    torch.manual_seed(0)
    features = torch.rand(2, 3, 17, 23)
    found = local_mean(features, (5, 7))
    inner = nn.functional.avg_pool2d(features, (5, 7), stride=1)
    assert torch.allclose(found[..., 2:15, 3:20].float(), inner, atol=1e-6)
    assert torch.equal(found[..., 0, :], found[..., 2, :])  # at the border the window stays inside
    whole = features.double().mean(dim=(-2, -1), keepdim=True).expand(2, 3, 17, 23)
    assert torch.allclose(local_mean(features, (99, 99)), whole)


def test_norm_with_a_window_over_everything_is_the_norm() -> None:
    torch.manual_seed(0)
    norm = nn.InstanceNorm2d(4, affine=True)
    nn.init.normal_(norm.weight)
    features = torch.randn(2, 4, 9, 11)
    assert torch.allclose(LocalInstanceNorm(norm, (9, 11))(features), norm(features), atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_networks_change_only_on_images_larger_than_the_window(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, **SMALL[name]).eval()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.constant_(parameter, 0.3)  # NAFNet begins as the identity
    local = with_local_statistics(network, crop_px=64)
    small, large = torch.rand(1, 3, 96, 96), torch.rand(1, 3, 96, 256) * torch.linspace(0, 1, 256)
    with torch.no_grad():
        assert torch.allclose(network(small)[-1], local(small)[-1], atol=1e-4)
        assert not torch.equal(network(large)[-1], local(large)[-1])
        assert local(torch.rand(1, 3, 33, 47))[-1].shape == (1, 3, 33, 47)
    assert network.state_dict().keys() == local.state_dict().keys()


def test_a_network_without_means_is_refused() -> None:
    network = build_network("hinet", width=8, depth=2, normalised_levels=None)
    with pytest.raises(UserError, match="does not average over its input"):
        with_local_statistics(network)
