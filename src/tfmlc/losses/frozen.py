"""The backbone and the adapter of a loss: outside of every module's parameters, and ready for any device and dtype."""

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
    """Holds a backbone and an adapter for a loss without registering them as its submodules.

    So a module that holds the loss has none of their weights among its parameters or in its state dict, and neither
    an optimiser nor ``DistributedDataParallel`` nor a parent's ``train()``, ``half()`` or ``requires_grad_()`` reaches
    them. ``on`` gives what runs: the parts themselves where they are frozen, in evaluation mode and of the asked
    device and dtype, else a frozen copy that is kept until the originals change.
    """

    def __init__(self, backbone: Backbone, adapter: Adapter | None, block: Block) -> None:
        self.backbone, self.adapter = backbone, adapter
        self.block: Block = block
        self._copies: dict[tuple[str, torch.device, torch.dtype], tuple[object, nn.Module]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles of a loss make their own frozen copies."""
        return {**self.__dict__, "_copies": {}}

    def move(self, device: torch.device) -> None:
        """Move the parts, not their dtype; the meta device, which holds no values, is left out."""
        if device.type != "meta":
            for part in (self.backbone, self.adapter):
                if part is not None:
                    part.to(device)

    def on(self, device: torch.device, dtype: torch.dtype) -> tuple[Backbone, Adapter | None]:
        """Backbone and adapter for images on ``device``, computing in ``dtype``."""
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
            self._copies[key] = (state, _frozen_copy(cast(nn.Module, part), self.block, device, dtype))
        return cast(Part, self._copies[key][1])


def other_weights(parts: FrozenParts, name: str, stored: dict[str, Tensor]) -> bool:
    """Whether a checkpoint's tensors of a part (names as in its state dict) are not those that ``parts`` hold.

    Blocks that were dropped from a backbone are not compared, and values of half precision count as equal.
    """
    part = cast("nn.Module | None", getattr(parts, name))
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
    """A copy in evaluation mode and without gradients; shares memory where device and dtype are the same.

    It is made outside of inference mode, whose tensors could not take part in a gradient later.
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
