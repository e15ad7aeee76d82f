"""Types that libraries do not give: guards for values of files, and calls whose stubs are too narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    from torch import nn

NOTHING: Any = None  # for OpenCV, whose stubs require arrays that its functions make themselves
Module = TypeVar("Module", bound="nn.Module")


def is_record(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether a value of a JSON or YAML file is a mapping; its keys are text there."""
    return isinstance(value, dict)


def channels_last(module: Module) -> Module:
    """Move the weights of a module to the memory format in which convolutions are fastest; return the module."""
    import torch

    for value in (*module.parameters(), *module.buffers()):
        if value.dim() == 4:  # torch's own conversion fails on weights of five dimensions
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return module
