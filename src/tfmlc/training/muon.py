"""Muon, an optimiser that makes the momentum of a matrix orthogonal before it applies it (Jordan et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tfmlc.runtime.device import fast_precision

# Coefficients of the quintic Newton-Schulz iteration. It brings singular values between about 0.7 and 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_SIDE = 8


def orthogonalise(matrix: Tensor) -> Tensor:
    """Bring all singular values of a matrix near one, by five Newton-Schulz iterations.

    Args:
        matrix: The matrix. The iterations use bf16 where the device is fast at it.

    Returns:
        The matrix, in the dtype of the input.

    Example:
        >>> values = torch.linalg.svdvals(orthogonalise(torch.randn(8, 20)))
        >>> bool((values > 0.5).all() and (values < 1.5).all())
        True
    """
    a, b, c = NEWTON_SCHULZ
    working = matrix.bfloat16() if fast_precision(matrix.device) == "bf16" else matrix.float()
    wide: Tensor = working if matrix.shape[0] <= matrix.shape[1] else working.T
    wide = torch.nn.functional.normalize(wide.flatten(), dim=0).view(wide.shape)
    for _ in range(ITERATIONS):
        gram: Tensor = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide if matrix.shape[0] <= matrix.shape[1] else wide.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for convolutions, and Adam for the other parameters: biases, norms, and layers from or to an image.

    A kernel ``o i h w`` is treated as a matrix ``o x ihw``. A deblurring network with random weights learns to
    distinguish two blurs in a third of the steps that Adam needs.

    Args:
        parameters: The parameters to train.
        lr: The learning rate of Muon.
        momentum: The decay rate of the average gradient.
        adam_factor: The learning rate of Adam, relative to that of Muon.

    Example:
        >>> layer = nn.Conv2d(8, 8, 3)
        >>> before, optimiser = layer.weight.detach().clone(), Muon(layer.parameters(), lr=0.01)
        >>> layer(torch.rand(1, 8, 9, 9)).sum().backward()
        >>> optimiser.step()
        >>> bool((layer.weight != before).any())
        True
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95, adam_factor: float = 0.05
    ) -> None:
        kernels: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in parameters:
            is_kernel = parameter.dim() == 4 and min(parameter.shape[:2]) >= SMALLEST_SIDE
            (kernels if is_kernel else others).append(parameter)
        groups = [{"params": kernels, "muon": True}, {"params": others, "muon": False}]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "adam_factor": adam_factor, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step. ``closure`` is not supported."""
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adam
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update(parameter, parameter.grad, group)

    def _muon(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        average = state.setdefault("average", torch.zeros_like(parameter))
        average.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(average, group["momentum"])
        rows, columns = parameter.shape[0], parameter[0].numel()
        direction = orthogonalise(ahead.reshape(rows, columns)).reshape(parameter.shape)
        parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _adam(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        count = state.setdefault("step", torch.zeros(()))
        average = state.setdefault("average", torch.zeros_like(parameter))
        square = state.setdefault("square", torch.zeros_like(parameter))
        count += 1
        average.lerp_(gradient, 1 - first)
        square.lerp_(gradient.square(), 1 - second)
        spread = (square / (1 - second ** float(count))).sqrt_().add_(1e-8)
        rate = group["lr"] * group["adam_factor"] / (1 - first ** float(count))
        parameter.addcdiv_(average, spread, value=-rate)
