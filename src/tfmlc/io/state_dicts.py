"""Selection of the weights from a checkpoint, whatever its containers, prefixes and wrappers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.io.torch_files import as_mapping

# Parts that wrappers add to names: DataParallel, torch.compile, FSDP, activation checkpointing, DeepSpeed.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_model"}
# Names of containers of weights, as a dict or a prefix; the first one that exists is used.
CONTAINERS = (
    "state_dict",
    "model_state_dict",
    "params",
    "model_state",
    "generator",
    "net_g",
    "model",
    "network",
    "net",
)
OTHER_CONTAINERS = {"weights", "params_ema", "module", "checkpoint"}
AVERAGED = re.compile(r"(^|_)(ema|swa|polyak|averaged|average|shadow|avg)(_|$)|_?ema(model|_params)?$", re.I)
# Entries that are not weights: of the optimiser, the schedule, the run.
BESIDE = re.compile(
    r"optim|sched|scaler|(^|_)rng|callback|hparam|hyper|config|(^|_)args$|^opt$|history|^meta$|(^|_)amp$|loops|message_hub"
    r"|^states?$|^loss|trainer",
    re.I,
)
COUNTERS = re.compile(r"n_averaged|num_updates|decay|initted|epoch|(^|_)iter|step|counter|best_|version", re.I)
DEPTH = 8  # of containers
NESTED = 64  # objects in objects, as the modules of a pickled model
Groups = dict[tuple[str, ...], dict[str, Tensor]]


def pick_state_dict(content: object) -> tuple[dict[str, Tensor], str]:
    """Select the weights from the content of a checkpoint.

    Averaged weights (EMA, SWA) are preferred. Tensors that they lack, such as buffers, are taken from the weights
    that they average.

    Args:
        content: Nested dicts with tensors, or a flat dict with dots in its names.

    Returns:
        The tensors, under names without wrappers, and a note if there was a choice.

    Raises:
        UserError: If there are no named tensors.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 2)
        >>> content = {"state_dict": {"module.a.weight": one}, "params_ema._orig_mod.a.weight": 2 * one, "epoch": 3}
        >>> pick_state_dict(content)
        ({'a.weight': tensor([[2., 2.]])}, 'averaged weights (params_ema) are used, not those under state_dict')
    """
    groups = _groups(content)
    if not groups:
        raise UserError(f"holds no named tensors{_keys(content)}")
    averaged = [path for path in groups if _is_averaged(path)]
    plain = sorted((path for path in groups if path not in averaged), key=lambda path: _rank(path, groups[path]))
    if not averaged:
        others = [path for path in plain[1:] if len(groups[path]) > 1]
        note = f"the weights under {_said(plain[0])} are used, not those under {_said(others[0])}" if others else ""
        return groups[plain[0]], note
    best = min(averaged, key=lambda path: _rank(path, groups[path]))
    if not plain:
        return groups[best], ""
    base = max(plain, key=lambda path: len(groups[path].keys() & groups[best].keys()))
    found = _renamed(groups[best], groups[base])
    whole = {**groups[base], **found} if found.keys() & groups[base].keys() else found
    return whole, f"averaged weights ({_said(best)}) are used, not those under {_said(base)}"


def without_wrappers(name: str) -> str:
    """Remove from a tensor's name what DataParallel, ``torch.compile`` and other wrappers added.

    >>> without_wrappers("module._orig_mod.encoder._orig_mod.0.weight")
    'encoder.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _groups(content: object) -> Groups:
    """Group the tensors by container."""
    found: Groups = {}
    for path, name, value in _walk(content):
        inner, short = _split(name)
        containers = tuple(part for part in (*path, *inner) if part not in WRAPPERS)
        found.setdefault(containers, {})[short] = value
    merged: Groups = {}
    for path, tensors in found.items():
        inner, short = _common(tensors)
        merged.setdefault((*path, *inner), {}).update(short)
    return {
        path: tensors for path, tensors in merged.items() if any(value.dim() for value in tensors.values())
    } or merged


def _walk(content: object) -> Iterator[tuple[tuple[str, ...], str, Tensor]]:
    """Yield each named tensor with the keys of the dicts that contain it and its name in the innermost dict.

    The modules of a pickled or scripted model become parts of the name.
    """
    seen: set[int] = set()

    def inside(
        value: object, path: tuple[str, ...], prefix: str = "", nested: int = 0
    ) -> Iterator[tuple[tuple[str, ...], str, Tensor]]:
        members = as_mapping(value)
        if members is None or id(value) in seen or len(path) > DEPTH or nested > NESTED:
            return
        seen.add(id(value))
        for key, item in members.items():
            name = f"{prefix}{key}"
            if isinstance(item, Tensor):
                if item.dim() or not COUNTERS.search(name) or "num_batches_tracked" in name:
                    yield path, name, item
            elif not isinstance(value, Mapping):
                yield from inside(item, path, f"{name}.", nested + 1)
            elif not BESIDE.search(name):
                yield from inside(item, (*path, name), "", nested)

    yield from inside(content, ())


def _split(name: str) -> tuple[list[str], str]:
    """Split a name into the containers that it begins with and the rest, without wrappers."""
    parts = without_wrappers(name).split(".") or [name]
    inner: list[str] = []
    while len(parts) > 1 and (AVERAGED.search(parts[0]) or parts[0] in ("state_dict", "params", *OTHER_CONTAINERS)):
        inner.append(parts.pop(0))
    return inner, ".".join(parts)


def _common(tensors: Mapping[str, Tensor]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Remove the containers that all names of a group begin with; return them and the group."""
    inner: list[str] = []
    named = dict(tensors)
    while len(heads := {name.partition(".")[0] if "." in name else "" for name in named}) == 1:
        (head,) = heads
        if head not in CONTAINERS:
            break
        inner.append(head)
        named = {name.partition(".")[2]: value for name, value in named.items()}
    return tuple(inner), named


def _is_averaged(path: tuple[str, ...]) -> bool:
    return any(AVERAGED.search(part) for part in path)


def _rank(path: tuple[str, ...], tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return a sort key: known containers first, in their order, then larger groups."""
    known = [CONTAINERS.index(part) for part in path if part in CONTAINERS]
    return min(known, default=0 if not path else len(CONTAINERS)), -sum(value.numel() for value in tensors.values())


def _renamed(averaged: dict[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename averaged weights like the others; some programs remove the dots from their names."""
    dotless = {name.replace(".", ""): name for name in base}
    if averaged.keys() & base.keys() or not all(name in dotless for name in averaged):
        return averaged
    return {dotless[name]: value for name, value in averaged.items()}


def _said(path: tuple[str, ...]) -> str:
    return ".".join(path) or "no name"


def _keys(content: object) -> str:
    members = as_mapping(content)
    if not members:
        return f": its content is of type {type(content).__name__}" if members is None else ": it is empty"
    return f"; its keys are {', '.join(str(key)[:40] for key in list(members)[:5])}"
