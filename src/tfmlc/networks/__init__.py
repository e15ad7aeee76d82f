"""Deblurring networks: build one by name, or load one from a weights file."""

from tfmlc.networks.catalog import NETWORKS, build_network, checked_sizes, describe_network, family_of
from tfmlc.networks.hub import from_pretrained, push_to_hub, save_pretrained
from tfmlc.networks.network import Network
from tfmlc.networks.storage import blend_networks, load_network, save_network

__all__ = [
    "NETWORKS",
    "Network",
    "blend_networks",
    "build_network",
    "checked_sizes",
    "describe_network",
    "family_of",
    "from_pretrained",
    "load_network",
    "push_to_hub",
    "save_network",
    "save_pretrained",
]
