"""The table of deblurring networks, and how a network is recognised by the names and shapes of its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, get_type_hints

from pydantic import create_model
from torch import Tensor

from tfmlc.config import Config, checked
from tfmlc.errors import UserError, unknown_name
from tfmlc.networks.hinet import HINet
from tfmlc.networks.mprnet import MPRNet
from tfmlc.networks.nafnet import NAFNet
from tfmlc.networks.network import Network
from tfmlc.networks.spectral_unet import SpectralUNet

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """One network of the table.

    Attributes:
        family: Chooses the objective that trains it, see ``losses.objectives``.
        build: The network's class.
        sizes: Its default hyperparameters.
        signature: The name of a parameter that no other network has.
        measure: Reads the hyperparameters from the shapes of a state dict.
        paper: The publication.
    """

    family: str
    build: Callable[..., Network]
    sizes: dict[str, Any]
    signature: str
    measure: Callable[[Shapes], dict[str, Any]]
    paper: str


def _count(shapes: Shapes, prefix: str) -> int:
    """Return the number of different names ``prefix.0``, ``prefix.1``, ... among the parameters."""
    return len({name[len(prefix) + 1 :].split(".")[0] for name in shapes if name.startswith(f"{prefix}.")})


def _unshuffle(channels: int) -> int:
    return round((channels / 3) ** 0.5)


def _measure_hinet(shapes: Shapes) -> dict[str, Any]:
    depth = _count(shapes, "down_path_1")
    levels = [level for level in range(depth) if f"down_path_1.{level}.norm.weight" in shapes]
    width, channels = shapes["conv_01.weight"][:2]
    span = (levels[0], levels[-1]) if levels else None
    sizes = {"width": width, "depth": depth, "normalised_levels": span, "unshuffle": _unshuffle(channels)}
    head = {"head": shapes["head.conv_1.weight"][0]} if "head.conv_1.weight" in shapes else {}
    return sizes | head | ({"scales": 2} if "coarse_01.weight" in shapes else {})


def _measure_mprnet(shapes: Shapes) -> dict[str, Any]:
    unet_width, width = shapes["stage1_encoder.down12.down.1.weight"][:2]
    squeezed = shapes["shallow_feat1.1.CA.conv_du.0.weight"][0]
    return {
        "width": width,
        "unet_step": unet_width - width,
        "original_step": shapes["tail.weight"][1] - width,
        "original_blocks": _count(shapes, "stage3_orsnet.orb1.body") - 1,
        "reduction": width // squeezed,
    }


def _measure_nafnet(shapes: Shapes) -> dict[str, Any]:
    width, channels = shapes["intro.weight"][:2]
    levels = range(_count(shapes, "downs"))
    return {
        "width": width,
        "middle_blocks": _count(shapes, "middle_blks"),
        "encoder_blocks": tuple(_count(shapes, f"encoders.{level}") for level in levels),
        "decoder_blocks": tuple(_count(shapes, f"decoders.{level}") for level in levels),
        "unshuffle": _unshuffle(channels),
    }


def _measure_spectral_unet(shapes: Shapes) -> dict[str, Any]:
    levels = range(_count(shapes, "encoders"))
    return {
        "widths": tuple(shapes[f"encoders.{level}.0.conv_1.weight"][0] for level in levels),
        "encoder_blocks": tuple(_count(shapes, f"encoders.{level}") for level in levels),
        "decoder_blocks": tuple(_count(shapes, f"decoders.{level}") for level in levels[:-1]),
        "code": shapes["motion.weight"][1],
        "head": (shapes["to_half.weight"][0] // 4, shapes["half_1.weight"][0], shapes["half_2.weight"][0] // 4),
    }


NETWORKS: dict[str, Row] = {
    "hinet": Row("hinet", HINet, {"width": 64}, "cat12.weight", _measure_hinet, "Chen et al., CVPRW 2021"),
    "mprnet": Row("mprnet", MPRNet, {"width": 96}, "concat23.weight", _measure_mprnet, "Zamir et al., CVPR 2021"),
    "mprnet-lite": Row(
        "mprnet",
        MPRNet,
        {"width": 40, "unet_step": 20, "original_step": 16},
        "concat23.weight",
        _measure_mprnet,
        "Zamir et al., CVPR 2021; sizes of its lite GoPro weights",
    ),
    "nafnet": Row("nafnet", NAFNet, {"width": 32}, "intro.weight", _measure_nafnet, "Chen et al., ECCV 2022"),
    "spectral-unet": Row(
        "spectral-unet",
        SpectralUNet,
        {},
        "motion.weight",
        _measure_spectral_unet,
        "ours; modulation: Perez et al., AAAI 2018",
    ),
}


def family_of(name: str) -> str:
    """Return the family of a network, which chooses the objective that trains it; networks of spandrel have one stage.

    >>> family_of("mprnet-lite"), family_of("SwinIR")
    ('mprnet', 'nafnet')
    """
    return NETWORKS[name].family if name in NETWORKS else NETWORKS["nafnet"].family


def build_network(name: str, **hyperparameters: Any) -> Network:
    """Build a network with random weights by name.

    Args:
        name: A row of ``NETWORKS``: ``"hinet"``, ``"mprnet"``, ``"mprnet-lite"``, ``"nafnet"`` or
            ``"spectral-unet"``.
        **hyperparameters: Arguments of the network's class, for example ``width=64``. They override the defaults of
            the row.

    Returns:
        The network, in training mode.

    Raises:
        UserError: If the name or a hyperparameter is unknown, or a value is impossible.

    Example:
        >>> network = build_network("nafnet", width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1))
        >>> network.size_multiple
        4
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    sizes = checked_sizes(name, {**NETWORKS[name].sizes, **hyperparameters})
    try:
        return NETWORKS[name].build(**sizes)
    except UserError as error:
        raise UserError(f"network {name!r} cannot be built: {error}") from error


def checked_sizes(name: str, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Check the sizes of a network of the table against its class.

    Raises UserError if a size is unknown or its value is impossible.

    >>> checked_sizes("hinet", {"width": 32, "normalised_levels": [2, 3]})
    {'width': 32, 'normalised_levels': (2, 3)}
    """
    kinds = get_type_hints(NETWORKS[name].build.__init__, include_extras=True)
    fields: dict[str, Any] = {name: (kind, None) for name, kind in kinds.items() if name != "return"}
    try:
        values = checked(create_model("Sizes", __base__=Config, **fields), sizes)
    except UserError as error:
        raise UserError(f"network {name!r} cannot be built: {error}") from error
    return {name: getattr(values, name) for name in sizes}


def describe_network(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Recognise the network that a state dict belongs to, from the names and shapes of its tensors.

    Args:
        tensors: The state dict.

    Returns:
        The network's name and its hyperparameters, as ``build_network`` takes them.

    Raises:
        UserError: If no network of the table fits.

    Example:
        >>> network = build_network("hinet", width=8, depth=3, normalised_levels=None)
        >>> describe_network(network.state_dict())
        ('hinet', {'width': 8, 'depth': 3, 'normalised_levels': None, 'unshuffle': 1})
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name, row in NETWORKS.items():
        if row.signature in shapes:
            try:
                sizes = row.measure(shapes)
            except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
                raise UserError(f"looks like {name}, but a tensor is missing or has a wrong shape: {error}") from error
            lite = NETWORKS["mprnet-lite"].sizes
            return ("mprnet-lite" if name == "mprnet" and lite.items() <= sizes.items() else name), sizes
    first = ", ".join(list(shapes)[:3])
    more = "" if find_spec("spandrel") else "; for more architectures: pip install 'tfmlc[spandrel]'"
    raise UserError(f"not a known network ({', '.join(NETWORKS)}); the first tensors are {first}{more}")
