"""Deblur photos, train deblurring networks with losses that respond to blur, and score them reproducibly.

Each name loads on first use. ``import tfmlc`` alone is fast and does not import PyTorch.

Example:
    >>> import tfmlc
    >>> backbone = tfmlc.build_backbone("dinov2-vit-s14", weights=None, last_block=3)
    >>> loss = tfmlc.FeatureMatchingLoss(backbone, block=3)
    >>> sorted(set(tfmlc.__all__) - set(dir(tfmlc)))
    []
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfmlc.backbones import build_backbone
    from tfmlc.deblur import Deblurrer
    from tfmlc.losses import Adapter, FeatureMatchingLoss
    from tfmlc.metrics import score
    from tfmlc.networks import build_network, load_network

    __version__: str

__all__ = [
    "Adapter",
    "Deblurrer",
    "FeatureMatchingLoss",
    "__version__",
    "build_backbone",
    "build_network",
    "load_network",
    "score",
]

_PACKAGES = {
    "Adapter": "losses",
    "Deblurrer": "deblur",
    "FeatureMatchingLoss": "losses",
    "build_backbone": "backbones",
    "build_network": "networks",
    "load_network": "networks",
    "score": "metrics",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("tfmlc")
    elif name in _PACKAGES:
        value = getattr(import_module(f"tfmlc.{_PACKAGES[name]}"), name)
    else:
        raise AttributeError(f"module 'tfmlc' has no attribute {name!r}")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
