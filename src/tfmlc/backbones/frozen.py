"""Attention and MLP of a transformer block with frozen weights, faster because they skip the weights' gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

QUICK = 1.702


class _QuickGeluMlp(torch.autograd.Function):
    """Computes ``second(x sigmoid(1.702 x))`` with ``x = first(tokens)``, as ``second(silu(1.702 x) / 1.702)``.

    The two matrix products apply the factor and its inverse, which cancel in the gradient.
    """

    @staticmethod
    def forward(
        context: Any, tokens: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor
    ) -> Tensor:
        scaled = torch.addmm(first_bias, tokens, first.t(), beta=QUICK, alpha=QUICK)
        context.save_for_backward(scaled, first, second)
        return torch.addmm(second_bias, nn.functional.silu(scaled), second.t(), alpha=1 / QUICK)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if any(context.needs_input_grad[1:]):
            raise RuntimeError("the weights of a backbone do not train: call requires_grad_(False) first")
        scaled, *weights = context.saved_tensors
        first, second = (weight.to(scaled.dtype) for weight in weights)  # differs only under autocast
        with torch.autocast(gradient.device.type, enabled=False):  # backward() can be called under autocast
            inner = gradient @ second
            torch.ops.aten.silu_backward.grad_input(inner, scaled, grad_input=inner)
            return inner @ first, None, None, None, None


class QuickGeluMlp(nn.Module):
    """The frozen MLP of OpenAI's transformers, with the layers of timm's MLP."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.fc1: nn.Linear = mlp.fc1
        self.fc2: nn.Linear = mlp.fc2

    def forward(self, tokens: Tensor) -> Tensor:
        layers = (self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)
        return _QuickGeluMlp.apply(tokens.flatten(0, 1), *layers).view(tokens.shape)


def _product(left: Tensor, right: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """Return ``factor left @ right`` per batch element, without a separate pass for the factor."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=factor, out=out)


class _Attention(torch.autograd.Function):
    """Softmax attention by plain matrix products: ``b n 3 heads d`` (queries, keys, values) to ``b n heads*d``."""

    @staticmethod
    def forward(context: Any, joint: Tensor) -> Tensor:
        batch, count, _, heads, width = context.sizes = joint.shape
        joint = joint.permute(2, 0, 3, 1, 4).reshape(3, batch * heads, count, width)
        queries, keys, values = joint
        scores = _product(queries, keys.transpose(1, 2), width**-0.5)
        weights = scores.softmax(dim=2)
        context.save_for_backward(joint, weights)
        mixed = torch.bmm(weights, values).view(batch, heads, count, width)
        return mixed.transpose(1, 2).reshape(batch, count, heads * width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (queries, keys, values), weights = context.saved_tensors
        batch, count, _, heads, width = context.sizes
        gradient = gradient.view(batch, count, heads, width).transpose(1, 2).reshape(values.shape)
        gradients = values.new_empty(3, *values.shape)
        with torch.autocast(gradient.device.type, enabled=False):  # backward() can be called under autocast
            torch.bmm(weights.transpose(1, 2), gradient, out=gradients[2])
            scores = torch.ops.aten._softmax_backward_data(gradient @ values.transpose(1, 2), weights, 2, weights.dtype)
            _product(scores, keys, width**-0.5, out=gradients[0])
            _product(scores.transpose(1, 2), queries, width**-0.5, out=gradients[1])
        return gradients.view(3, batch, heads, count, width).permute(1, 3, 0, 2, 4)


class SelfAttention(nn.Module):
    """Multi-head self-attention with the layers of timm's attention.

    It uses PyTorch's fused kernel, except for 16 bits on a CPU, where the gradient of that kernel is several times
    slower than plain products.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.qkv: nn.Linear = attention.qkv
        self.proj: nn.Linear = attention.proj

    def extra_repr(self) -> str:
        """Show the number of heads."""
        return f"heads={self.heads}"

    def forward(self, tokens: Tensor, **mask: object) -> Tensor:  # noqa: ARG002 - timm's blocks pass an empty mask
        batch, count, _ = tokens.shape
        joint: Tensor = self.qkv(tokens).view(batch, count, 3, self.heads, -1)
        if tokens.device.type == "cpu" and tokens.dtype != torch.float32:
            return self.proj(_Attention.apply(joint))
        queries, keys, values = joint.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))
