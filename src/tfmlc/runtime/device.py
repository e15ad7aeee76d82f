"""The choice of a device and of the precision for it."""

from __future__ import annotations

from typing import Literal

import torch

from tfmlc.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Resolved = Literal["fp32", "bf16", "fp16"]


def choose_device(device: str) -> torch.device:
    """Return the device of a name; ``"auto"`` takes cuda, mps or cpu. Raises UserError if it is not available."""
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()  # tensors of some devices, such as meta, hold no numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UserError(f"device {device!r} is not usable here: use auto or cpu") from error
    return chosen


def fast_precision(device: torch.device) -> Literal["fp32", "bf16"]:
    """Return ``"bf16"`` if the device is fast at it (Ampere and later; AMX, AVX-512 with bf16), else ``"fp32"``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    if device.type == "cpu":
        amx = torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
        avx = torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
        return "bf16" if amx or avx else "fp32"
    return "fp32"


def resolve_precision(device: torch.device, precision: TrainingPrecision) -> Resolved:
    """Replace ``"auto"`` by the fast precision of the device."""
    return fast_precision(device) if precision == "auto" else precision


def autocast(device: torch.device, precision: TrainingPrecision) -> torch.autocast:
    """Return the autocast context for a forward pass on the device in a precision."""
    resolved = resolve_precision(device, precision)
    dtype = torch.float16 if resolved == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=resolved != "fp32")
