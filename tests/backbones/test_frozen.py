"""The frozen halves of a transformer block compute what timm's own do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers import Mlp, QuickGELU
from timm.layers.attention import Attention

from tfmlc.backbones.frozen import QuickGeluMlp, SelfAttention


@pytest.fixture(params=["attention", "mlp"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    torch.manual_seed(0)
    if request.param == "attention":
        own = Attention(48, num_heads=3, qkv_bias=True)
        return own.requires_grad_(False), SelfAttention(own)
    own = Mlp(48, 192, act_layer=QuickGELU)
    return own.requires_grad_(False), QuickGeluMlp(own)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=str
)
def test_values_and_gradients_are_timms(pair: tuple[Any, Any], dtype: torch.dtype, tolerance: float) -> None:
    tokens, cotangent = torch.randn(2, 3, 11, 48, generator=torch.Generator().manual_seed(1))
    found: list[list[torch.Tensor]] = []
    for part, precision in zip(pair, (torch.float64, dtype), strict=True):
        images = tokens.to(precision).requires_grad_()
        values = part.to(precision)(images)
        values.backward(cotangent.to(precision))
        found.append([values.detach().double(), images.grad.double()])  # type: ignore[union-attr]
    for wanted, value in zip(*found, strict=True):
        assert float((wanted - value).abs().max()) <= tolerance * float(wanted.abs().max())


def test_the_names_of_the_weights_stay(pair: tuple[Any, Any]) -> None:
    timms, ours = pair
    assert set(timms.state_dict()) == set(ours.state_dict())


def test_weights_that_want_gradients_are_refused() -> None:
    part = QuickGeluMlp(Mlp(48, 192, act_layer=QuickGELU))
    with pytest.raises(RuntimeError, match="do not train"):
        part(torch.randn(1, 2, 48)).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast(pair: tuple[Any, Any], dtype: torch.dtype) -> None:
    timms, ours = (part.to(dtype) for part in pair)
    tokens = torch.randn(2, 5, 48, dtype=dtype).requires_grad_()
    gradients: list[torch.Tensor] = []
    for part in (timms, ours):
        with torch.autocast("cpu", torch.bfloat16):
            values = part(tokens)
        gradients += torch.autograd.grad(values.float().square().sum(), tokens)
    assert gradients[0].dtype == gradients[1].dtype == dtype
    assert float((gradients[0] - gradients[1]).abs().max()) < 0.05 * float(gradients[0].abs().max())
