"""Strength: a network between one that restores faithfully and one that was finetuned from it for looks."""

from __future__ import annotations

from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.weights import FROM_FIDELITY_TO_LOOKS, find_model
from tfmlc.networks import Network, blend_networks, load_network

Model = str | Path


def network_of(model: Model | tuple[Model, Model], strength: float | None) -> Network:
    """Load the network of a model, or blend the weights of two.

    Args:
        model: The name of a model or a weights file; two of them for a blend. ``"default"`` stands for two models,
            too: the one that ships for fidelity and the one for looks.
        strength: 0 is the first model, 1 is the second. None for a single model.

    Returns:
        The network.

    Raises:
        UserError: If a model cannot be loaded, the two differ in form, or the strength does not fit the model or is
            outside of [0, 1].

    Example:
        >>> network_of("default", 1.0).info.sha256 == network_of("default", None).info.sha256
        True
    """
    ends: tuple[Model, Model] = model if isinstance(model, tuple) else FROM_FIDELITY_TO_LOOKS
    if strength is None:
        if isinstance(model, tuple):
            raise UserError("two models need a strength from 0 (the first) to 1 (the second)")
        return load_network(find_model(model))
    if not isinstance(model, tuple) and str(model) != "default":
        raise UserError(f"a strength is between {ends[0]} and {ends[1]}, not for {model}: leave out one of them")
    if not 0 <= strength <= 1:
        raise UserError(f"the strength is a number from 0 (fidelity) to 1 (looks), not {strength:g}")
    if strength in (0, 1):
        return load_network(find_model(ends[int(strength)]))
    one, other = (load_network(find_model(end)) for end in ends)
    return blend_networks(one, other, strength)
