"""Networks from weights files and back, and between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors, write_checkpoint
from tfmlc.io.state_dicts import AVERAGED
from tfmlc.networks.catalog import NETWORKS, build_network, describe_network
from tfmlc.networks.network import Network


@torch.inference_mode(False)  # what is loaded inside of it can be trained outside
def load_network(path: str | Path) -> Network:
    """Rebuild a network from its weights file, in evaluation mode and float32.

    Reads our safetensors and what others save (see ``checkpoint.read_tensors``); finds architecture and sizes from the
    shapes alone, also where the network is a part of what was saved, under any prefix. ``network.info`` tells what
    was found: name, sizes, origin, licence. Raises UserError for a file of another architecture, with a missing,
    surplus or misshapen tensor, or with values that are whole numbers or not finite.
    """
    path = Path(path)
    tensors, info = read_tensors(path)
    tensors, info = _network_part(path, tensors, info)
    try:
        name, sizes = describe_network(tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    wanted = _empty_network(path, name, sizes).state_dict(keep_vars=True)
    stored_under = {id(wanted[key]): key for key in tensors if key in wanted}
    tensors = {**tensors} | {
        key: tensors[stored_under[id(value)]]
        for key, value in wanted.items()
        if id(value) in stored_under and key not in tensors
    }
    _check_fit(f"{path} looks like {name}, but", tensors, wanted)
    _check_values(path, tensors)
    with torch.device("cpu"):
        network = build_network(name, **sizes).float()
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    network.info = CheckpointInfo("network", name, sizes, info.origin, info.licence, info.sha256)
    return network.eval()


def _network_part(
    path: Path, tensors: dict[str, Tensor], info: CheckpointInfo
) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """The tensors of a network that is a part of something larger, as of a module with its losses.

    It is found by the one parameter that no other network has; of several the averaged one is taken, and none where
    there is no telling.
    """
    marks = {row.signature for row in NETWORKS.values()}
    if marks & tensors.keys():
        return tensors, info
    prefixes = {name.removesuffix(mark): None for name in tensors for mark in marks if name.endswith(f".{mark}")}
    averaged = [prefix for prefix in prefixes if AVERAGED.search(prefix.split(".")[0])]
    chosen = averaged or list(prefixes)
    if len(chosen) > 1:
        several = " and ".join(prefix.rstrip(".") for prefix in chosen[:3])
        raise UserError(f"{path} holds {len(chosen)} networks, {several}: save the state dict of the one that is meant")
    if not chosen:
        return tensors, info
    part = {name.removeprefix(chosen[0]): value for name, value in tensors.items() if name.startswith(chosen[0])}
    others = len(prefixes) > 1
    note = f"averaged weights ({chosen[0].rstrip('.')})" if others else f"the weights under {chosen[0].rstrip('.')}"
    return part, replace(info, origin=info.origin or f"{path.name}: {note}")


def _empty_network(path: Path, name: str, sizes: dict[str, Any]) -> Network:
    """A network of shapes without memory: sizes that a damaged file claims cost nothing."""
    try:
        with torch.device("meta"):
            return build_network(name, **sizes)
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        raise UserError(f"{path} looks like {name}, but of impossible sizes: {str(error).splitlines()[0]}") from error


def _check_fit(claim: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for fault, keys in (
        ("lacks", wanted.keys() - tensors.keys()),
        ("has a tensor too many:", tensors.keys() - wanted.keys()),
    ):
        if keys:
            raise UserError(f"{claim} {fault} {min(keys)} ({len(keys)} in all)")
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise UserError(f"{claim} {key} is {tuple(value.shape)} where {tuple(wanted[key].shape)} fits")


def _check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = [name for name, value in tensors.items() if not value.is_floating_point()]
    if whole:
        raise UserError(f"{path} holds {whole[0]} as {tensors[whole[0]].dtype}: quantised weights are not read here")
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise UserError(f"{path} has values that are not finite in {broken[0]} and {len(broken) - 1} more tensors")


def blend_networks(one: Network, other: Network, factor: float, *, onto: Network | None = None) -> Network:
    """The network whose weights lie ``factor`` of the way from ``one`` to ``other``, which was finetuned from it.

    What finetuning changed is had in part, as fidelity given up for looks (Wang et al., CVPR 2019). ``onto``: the same
    change made to another network, as one that was trained further since (Ilharco et al., ICLR 2023). Raises
    UserError for networks of different forms and a blend factor outside [0, 1].

    >>> one, other = (build_network("hinet", width=8, depth=2) for _ in range(2))
    >>> float(blend_networks(one, other, 1.0).last.bias.detach().sub(other.last.bias.detach()).abs().max())
    0.0
    """
    networks = [one, other] if onto is None else [one, other, onto]
    forms = [describe_network(network.state_dict()) for network in networks]
    for form in forms[1:]:
        if form != forms[0]:
            raise UserError(f"only networks of one form can be blended: {forms[0]} and {form}")
    if not 0 <= factor <= 1:
        raise UserError(f"the blend factor lies in [0, 1], {factor:g} does not")
    blended = build_network(forms[0][0], **forms[0][1])
    start, goal, base = (network.state_dict() for network in (one, other, onto or one))
    blended.load_state_dict({key: value.lerp(goal[key], factor) + (base[key] - value) for key, value in start.items()})
    origins = [network.info.origin or "weights of unknown origin" for network in networks]
    licences = dict.fromkeys(filter(None, (network.info.licence for network in networks)))
    origin = f"{factor:g} of the way from: {origins[0]}; to: {origins[1]}"
    origin = origin if onto is None else f"{origins[2]}; changed by {origin}"
    blended.info = CheckpointInfo("network", *forms[0], origin, "; ".join(licences))
    return blended.eval()


def save_network(path: Path, network: Network, *, origin: str, licence: str, half: bool = False) -> CheckpointInfo:
    """Write a network's weights, in half precision where asked; return what the file says of itself."""
    state = network.state_dict()
    name, sizes = describe_network(state)
    if half:
        shared = {value.data_ptr(): value.half() for value in state.values()}
        state = {key: shared[value.data_ptr()] for key, value in state.items()}
    return write_checkpoint(path, state, CheckpointInfo("network", name, sizes, origin, licence))
