"""Deblurring networks: build one by name, or load one from a weights file."""

from tfmlc.networks.catalog import NETWORKS, build_network, describe_network, family_of
from tfmlc.networks.network import Network
from tfmlc.networks.storage import blend_networks, load_network, save_network

__all__ = [
    "NETWORKS",
    "Network",
    "blend_networks",
    "build_network",
    "describe_network",
    "family_of",
    "load_network",
    "save_network",
]
