"""The table of deblurring networks, and their way back from a weights file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfmlc.checkpoint import Origin, read_tensors, write_checkpoint
from tfmlc.errors import UserError, unknown_name
from tfmlc.networks.hinet import HINet
from tfmlc.networks.mprnet import MPRNet
from tfmlc.networks.nafnet import NAFNet
from tfmlc.networks.network import Network
from tfmlc.networks.spectral_unet import SpectralUNet

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """One network: how it is built, its default sizes, and how its sizes are read from shapes."""

    build: Callable[..., Network]
    sizes: dict[str, Any]
    signature: str  # a parameter that no other network has
    measure: Callable[[Shapes], dict[str, Any]]
    paper: str


def _count(shapes: Shapes, prefix: str) -> int:
    """Number of consecutive ``prefix.0``, ``prefix.1``, ... in the parameter names."""
    return len({name[len(prefix) + 1 :].split(".")[0] for name in shapes if name.startswith(f"{prefix}.")})


def _unshuffle(channels: int) -> int:
    return round((channels / 3) ** 0.5)


def _measure_hinet(shapes: Shapes) -> dict[str, Any]:
    depth = _count(shapes, "down_path_1")
    levels = [level for level in range(depth) if f"down_path_1.{level}.norm.weight" in shapes]
    width, channels = shapes["conv_01.weight"][:2]
    span = (levels[0], levels[-1]) if levels else None
    return {"width": width, "depth": depth, "normalised_levels": span, "unshuffle": _unshuffle(channels)}


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
    "hinet": Row(HINet, {"width": 64}, "cat12.weight", _measure_hinet, "Chen et al., CVPRW 2021"),
    "mprnet": Row(MPRNet, {"width": 96}, "concat23.weight", _measure_mprnet, "Zamir et al., CVPR 2021"),
    "mprnet-lite": Row(
        MPRNet,
        {"width": 40, "unet_step": 20, "original_step": 16},
        "concat23.weight",
        _measure_mprnet,
        "Zamir et al., CVPR 2021; sizes of its lite GoPro weights",
    ),
    "nafnet": Row(NAFNet, {"width": 32}, "intro.weight", _measure_nafnet, "Chen et al., ECCV 2022"),
    "spectral-unet": Row(
        SpectralUNet, {}, "motion.weight", _measure_spectral_unet, "ours; modulation: Perez et al., AAAI 2018"
    ),
}


def build_network(name: str, **hyperparameters: Any) -> Network:
    """Build a network with random weights; ``hyperparameters`` override the row's sizes.

    Raises UserError for a name that is not in the table or a hyperparameter the network does not have.

    >>> build_network("hinet", width=8).step_px
    16
    """
    if name not in NETWORKS:
        raise unknown_name("network", name, NETWORKS)
    row = NETWORKS[name]
    try:
        return row.build(**{**row.sizes, **hyperparameters})
    except TypeError as error:
        raise UserError(f"network {name!r} cannot be built: {str(error).removeprefix('__init__() ')}") from error


def describe_network(tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Name and sizes of the network that a state dict belongs to, from names and shapes alone.

    Raises UserError where no network of the table fits.

    >>> describe_network(build_network("nafnet", width=8, encoder_blocks=(1, 2), decoder_blocks=(1, 1)).state_dict())
    ('nafnet', {'width': 8, 'middle_blocks': 1, 'encoder_blocks': (1, 2), 'decoder_blocks': (1, 1), 'unshuffle': 1})
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name, row in NETWORKS.items():
        if row.signature in shapes:
            try:
                sizes = row.measure(shapes)
            except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
                raise UserError(f"looks like {name}, but lacks or misshapes {error}") from error
            lite = NETWORKS["mprnet-lite"].sizes
            return ("mprnet-lite" if name == "mprnet" and lite.items() <= sizes.items() else name), sizes
    raise UserError(f"no network known here ({', '.join(NETWORKS)}); its tensors begin {', '.join(list(shapes)[:3])}")


def load_network(path: str | Path) -> Network:
    """Rebuild a network from its weights file, in evaluation mode.

    Reads our safetensors and official ``.pth``/``.safetensors`` files (see ``checkpoint.read_tensors``); finds
    architecture and sizes from the shapes alone. ``network.about`` tells what was found: name, sizes, origin,
    licence. Raises UserError for a file of another architecture, with a missing, surplus or misshapen tensor,
    or with values that are not finite.
    """
    path = Path(path)
    tensors, about = read_tensors(path)
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise UserError(f"{path} has values that are not finite in {broken[0]} and {len(broken) - 1} more tensors")
    try:
        name, sizes = describe_network(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    network = build_network(name, **sizes)
    wanted = network.state_dict(keep_vars=True)
    stored_under = {id(wanted[key]): key for key in tensors if key in wanted}
    tensors |= {
        key: tensors[stored_under[id(value)]]
        for key, value in wanted.items()
        if id(value) in stored_under and key not in tensors
    }
    for fault, keys in (
        ("lacks", wanted.keys() - tensors.keys()),
        ("has a tensor too many:", tensors.keys() - wanted.keys()),
    ):
        if keys:
            raise UserError(f"{path} looks like {name}, but {fault} {min(keys)} ({len(keys)} in all)")
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise UserError(
                f"{path} looks like {name}, but {key} is {tuple(value.shape)} where {tuple(wanted[key].shape)} fits"
            )
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    network.about = Origin("network", name, sizes, about.origin, about.licence, about.sha256)
    return network.eval()


def blend_networks(one: Network, other: Network, share: float, *, onto: Network | None = None) -> Network:
    """The network whose weights lie ``share`` of the way from ``one`` to ``other``, which was finetuned from it.

    What finetuning changed is had in part, as fidelity given up for looks (Wang et al., CVPR 2019). ``onto``: the same
    change made to another network, as one that was trained further since (Ilharco et al., ICLR 2023). Raises
    UserError for networks of different forms and a share outside [0, 1].

    >>> one, other = (build_network("hinet", width=8, depth=2) for _ in range(2))
    >>> float(blend_networks(one, other, 1.0).last.bias.detach().sub(other.last.bias.detach()).abs().max())
    0.0
    """
    networks = [one, other] if onto is None else [one, other, onto]
    forms = [describe_network(network.state_dict()) for network in networks]
    for form in forms[1:]:
        if form != forms[0]:
            raise UserError(f"only networks of one form can be blended: {forms[0]} and {form}")
    if not 0 <= share <= 1:
        raise UserError(f"the share lies in [0, 1], {share:g} does not")
    blended = build_network(forms[0][0], **forms[0][1])
    start, goal, base = (network.state_dict() for network in (one, other, onto or one))
    blended.load_state_dict({key: value.lerp(goal[key], share) + (base[key] - value) for key, value in start.items()})
    origins = [network.about.origin or "weights of unknown origin" for network in networks]
    licences = dict.fromkeys(filter(None, (network.about.licence for network in networks)))
    origin = f"{share:g} of the way from: {origins[0]}; to: {origins[1]}"
    origin = origin if onto is None else f"{origins[2]}; changed by {origin}"
    blended.about = Origin("network", *forms[0], origin, "; ".join(licences))
    return blended.eval()


def save_network(path: Path, network: Network, *, origin: str, licence: str, half: bool = False) -> Origin:
    """Write a network's weights, in half precision where asked; return what the file says of itself."""
    state = network.state_dict()
    name, sizes = describe_network(state)
    if half:
        shared = {value.data_ptr(): value.half() for value in state.values()}
        state = {key: shared[value.data_ptr()] for key, value in state.items()}
    return write_checkpoint(path, state, Origin("network", name, sizes, origin, licence))
