"""Frozen parts of a loss: a backbone and an adapter that belong to no module's parameters or state dict."""

from __future__ import annotations

import copy
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones import Backbone, Block
from tfmlc.losses.adapter import Adapter

Part = TypeVar("Part", bound=nn.Module)
PARTS = ("backbone", "adapter")


class FrozenParts:
    """Holds a backbone and an adapter for a loss without registering them as submodules.

    A module that holds the loss therefore does not list their weights in its parameters or its state dict.
    Optimisers, ``DistributedDataParallel`` and a parent's ``train()``, ``half()`` or ``requires_grad_()`` do not
    reach them. ``on`` returns the modules to run. These are the parts themselves if they are frozen, in evaluation
    mode and have the requested device and dtype; otherwise a frozen copy, kept until the originals change.
    """

    def __init__(self, backbone: Backbone, adapter: Adapter | None, block: Block) -> None:
        self.backbone, self.adapter = backbone, adapter
        self.block: Block = block
        self._copies: dict[tuple[str, torch.device, torch.dtype], tuple[object, nn.Module]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave the frozen copies out of pickles and deep copies."""
        return {**self.__dict__, "_copies": {}}

    def move(self, device: torch.device) -> None:
        """Move the parts to a device and keep their dtype; do nothing for the meta device, which holds no values."""
        if device.type != "meta":
            for part in (self.backbone, self.adapter):
                if part is not None:
                    part.to(device)

    def on(self, device: torch.device, dtype: torch.dtype) -> tuple[Backbone, Adapter | None]:
        """Return the backbone and the adapter to run for images on ``device``, computing in ``dtype``."""
        adapter = None if self.adapter is None else self._ready("adapter", self.adapter, device, dtype)
        return self._ready("backbone", self.backbone, device, dtype), adapter

    def _ready(self, name: str, part: Part, device: torch.device, dtype: torch.dtype) -> Part:
        tensors = _tensors(part)
        if not any(module.training for module in part.modules()) and all(
            _is_ready(tensor, device, dtype) for tensor in tensors
        ):
            return part
        state = [
            (tensor.data_ptr(), tensor.device, tensor.dtype, None if tensor.is_inference() else tensor._version)
            for tensor in tensors
        ]
        key = (name, device, dtype)
        if key not in self._copies or self._copies[key][0] != state:
            self._copies[key] = (state, _frozen_copy(part, self.block, device, dtype))
        return cast(Part, self._copies[key][1])


def other_weights(parts: FrozenParts, name: str, stored: dict[str, Tensor]) -> bool:
    """Whether a checkpoint stores other weights for a part than ``parts`` hold.

    ``stored`` has the names of the part's state dict. Blocks that were dropped from the backbone are not compared.
    Weights that were stored in half precision count as equal.
    """
    part: nn.Module | None = getattr(parts, name)
    own = {} if part is None else part.state_dict()
    if name == "adapter" and not stored.keys() <= own.keys():
        return True
    shared = [(own[key], value) for key, value in stored.items() if key in own]
    return any(
        mine.shape != theirs.shape
        or not torch.allclose(mine.float(), theirs.to(mine.device).float(), rtol=1e-2, atol=1e-4)
        for mine, theirs in shared
    )


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _is_ready(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> bool:
    fits = tensor.device == device and (tensor.dtype == dtype or not tensor.is_floating_point())
    return fits and not tensor.requires_grad and not tensor.is_inference()


def _frozen_copy(part: nn.Module, block: Block, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Copy a part, frozen and in evaluation mode; tensors that keep their device and dtype share memory.

    The copy is made outside of inference mode, because inference tensors cannot take part in a later gradient.
    """
    with torch.inference_mode(False), torch.no_grad():
        memo: dict[int, Any] = {}
        for value in _tensors(part):
            plain = value.clone() if value.is_inference() else value.detach()
            memo[id(value)] = nn.Parameter(plain, requires_grad=False) if isinstance(value, nn.Parameter) else plain
        made = copy.deepcopy(part, memo).eval()
        if isinstance(made, Backbone):
            made.drop_after(block)
        return made.to(device, dtype)
