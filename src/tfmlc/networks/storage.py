"""Loading, saving and blending networks."""

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
from tfmlc.networks.foreign import SpandrelNetwork, foreign_network
from tfmlc.networks.network import Network


@torch.inference_mode(False)  # a network that is loaded under inference mode can be trained outside of it
def load_network(path: str | Path) -> Network:
    """Load a network from a weights file.

    The file can be a safetensors file or a checkpoint that ``torch.save`` or ``torch.jit.save`` wrote, such as the
    official files of HINet, MPRNet and NAFNet. The architecture and its sizes are recognised by the names and shapes
    of the tensors, also if the network is a part of a larger module. Architectures that are not in the table of
    networks are left to spandrel (extra ``spandrel``).

    Args:
        path: The weights file.

    Returns:
        The network, in evaluation mode and float32. ``network.info`` has its name, sizes, origin and licence.

    Raises:
        UserError: If the file is missing or damaged, the network is unknown, a tensor is missing, surplus or of a
            wrong shape, or values are not floating-point or not finite.

    Example:
        >>> import tempfile
        >>> from tfmlc.networks import build_network, save_network
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "small.safetensors"
        ...     _ = save_network(path, build_network("hinet", width=8), origin="an example", licence="CC0-1.0")
        ...     network = load_network(path)
        >>> network.info.name, network.info.hyperparameters["width"]
        ('hinet', 8)
    """
    path = Path(path)
    tensors, info = read_tensors(path)
    tensors, info = _network_part(path, tensors, info)
    try:
        name, sizes, tensors = _fitting(path, tensors)
    except UserError:
        network = foreign_network(path, tensors)
        if network is None:
            raise
        _check_values(path, {key: value for key, value in tensors.items() if value.is_floating_point()})
        network.info = CheckpointInfo("network", network.architecture, {}, info.origin, info.licence, info.sha256)
        return network.float().eval()
    _check_values(path, tensors)
    with torch.device("cpu"):
        network = build_network(name, **sizes).float()
    network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    network.info = CheckpointInfo("network", name, sizes, info.origin, info.licence, info.sha256)
    return network.eval()


def _fitting(path: Path, tensors: dict[str, Tensor]) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Return the name and the sizes of the network of the table that the tensors fit, and all its tensors.

    Shared tensors, which safetensors stores once, get all their names back.
    """
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
    return name, sizes, tensors


def _network_part(
    path: Path, tensors: dict[str, Tensor], info: CheckpointInfo
) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Return the tensors of the network if it is a part of a larger module.

    The network is found by its signature. If there are several networks, the averaged one is taken; if it is not
    clear which one is meant, UserError is raised.
    """
    marks = {row.signature for row in NETWORKS.values()}
    if marks & tensors.keys():
        return tensors, info
    prefixes = {name.removesuffix(mark): None for name in tensors for mark in marks if name.endswith(f".{mark}")}
    averaged = [prefix for prefix in prefixes if AVERAGED.search(prefix.split(".")[0])]
    chosen = averaged or list(prefixes)
    if len(chosen) > 1:
        several = " and ".join(prefix.rstrip(".") for prefix in chosen[:3])
        raise UserError(f"{path} holds {len(chosen)} networks, {several}: save the state dict of the one you want")
    if not chosen:
        return tensors, info
    part = {name.removeprefix(chosen[0]): value for name, value in tensors.items() if name.startswith(chosen[0])}
    others = len(prefixes) > 1
    note = f"averaged weights ({chosen[0].rstrip('.')})" if others else f"the weights under {chosen[0].rstrip('.')}"
    return part, replace(info, origin=info.origin or f"{path.name}: {note}")


def _empty_network(path: Path, name: str, sizes: dict[str, Any]) -> Network:
    """Build a network on the meta device, so that absurd sizes in a damaged file cost no memory."""
    try:
        with torch.device("meta"):
            return build_network(name, **sizes)
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        raise UserError(
            f"{path} looks like {name}, but its sizes are impossible: {str(error).splitlines()[0]}"
        ) from error


def _check_fit(claim: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for fault, keys in (
        ("lacks", wanted.keys() - tensors.keys()),
        ("has a surplus tensor:", tensors.keys() - wanted.keys()),
    ):
        if keys:
            raise UserError(f"{claim} {fault} {min(keys)} ({len(keys)} in total)")
    for key, value in tensors.items():
        if value.shape != wanted[key].shape:
            raise UserError(f"{claim} {key} is {tuple(value.shape)}, not {tuple(wanted[key].shape)}")


def _check_values(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = [name for name, value in tensors.items() if not value.is_floating_point()]
    if whole:
        raise UserError(f"{path} holds {whole[0]} as {tensors[whole[0]].dtype}: quantised weights are not supported")
    broken = [name for name, value in tensors.items() if not bool(torch.isfinite(value.float()).all())]
    if broken:
        raise UserError(f"{path} has values that are not finite in {broken[0]} and {len(broken) - 1} more tensors")


def blend_networks(one: Network, other: Network, factor: float, *, onto: Network | None = None) -> Network:
    """Interpolate between the weights of a network and of one that was finetuned from it.

    Args:
        one: The first network.
        other: The finetuned network.
        factor: The blend factor: 0 gives ``one``, 1 gives ``other``.
        onto: Another network of the same form. If it is given, the change from ``one`` to ``other`` is added to it
            instead.

    Returns:
        A new network, in evaluation mode.

    Raises:
        UserError: If the networks differ in form, or the factor is outside of [0, 1].

    References:
        Wang et al., "Deep Network Interpolation for Continuous Imagery Effect Transition", CVPR 2019. For ``onto``:
        Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023.

    Example:
        >>> one, other = (build_network("hinet", width=8, depth=2) for _ in range(2))
        >>> blended = blend_networks(one, other, 1.0)
        >>> torch.equal(blended.last.bias, other.last.bias)
        True
    """
    networks = [one, other] if onto is None else [one, other, onto]
    for network in networks:
        if isinstance(network, SpandrelNetwork):
            raise UserError(f"{network.architecture} cannot be blended: only networks of the table can")
    forms = [describe_network(network.state_dict()) for network in networks]
    for form in forms[1:]:
        if form != forms[0]:
            raise UserError(f"only networks of the same form can be blended, not {forms[0]} and {form}")
    if not 0 <= factor <= 1:
        raise UserError(f"the blend factor must lie in [0, 1]; it is {factor:g}")
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
    """Write a network to a safetensors file.

    Args:
        path: The file to write.
        network: The network.
        origin: How the weights came to be, in a few words.
        licence: The licence of the weights, for example ``"Apache-2.0"``.
        half: Whether to store the weights in half precision.

    Returns:
        The information that is stored with the weights.

    Raises:
        UserError: If the network is not one of the table, or the file cannot be written.
    """
    if isinstance(network, SpandrelNetwork):  # keeps its official names, so that other programs read it too
        state, (name, sizes) = network.model.state_dict(), (network.architecture, dict[str, Any]())
    else:
        state = network.state_dict()
        name, sizes = describe_network(state)
    if half:
        shared = {value.data_ptr(): value.half() for value in state.values()}
        state = {key: shared[value.data_ptr()] for key, value in state.items()}
    return write_checkpoint(path, state, CheckpointInfo("network", name, sizes, origin, licence))
