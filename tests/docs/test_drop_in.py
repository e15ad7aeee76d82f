"""The pages on using the loss elsewhere run as they stand."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = DOCS / "drop-in"


def run(page: str) -> dict[str, Any]:
    code = re.findall(r"```python\n(.*?)```", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code
    names: dict[str, Any] = {"__name__": page}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other framework
        for block in code:
            exec(compile(block, f"{page}.md", "exec"), names)
    return names


def test_pytorch() -> None:
    assert torch.isfinite(run("pytorch")["loss"])


def test_the_weight_of_the_page_balances_the_gradients() -> None:
    page = (DOCS / "howto" / "loss.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "gradient_norm" in block)
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    sharp = torch.rand(1, 3, 32, 32)
    restored = network(sharp)
    names: dict[str, Any] = {"torch": torch, "network": network, "restored": restored, "sharp": sharp}
    names |= {"pixel_loss": torch.nn.functional.l1_loss(restored, sharp), "feature_loss": torch.nn.functional.mse_loss}
    exec(compile(code, "loss.md", "exec"), names)
    balanced = names["weight"] * names["feature_loss"](restored, sharp)
    assert names["gradient_norm"](balanced) == pytest.approx(float(names["gradient_norm"](names["pixel_loss"])))


def test_lightning() -> None:
    pytest.importorskip("lightning", reason="lightning is not part of this project: pip install lightning")
    assert run("lightning")["trainer"].global_step == 2


def test_basicsr(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    if find_spec("basicsr") is None:
        pytest.skip("BasicSR is not part of this project: pip install basicsr")
    names = run("basicsr")
    monkeypatch.delitem(sys.modules, "torchvision.transforms.functional_tensor")
    from basicsr.losses import build_loss

    options = {"type": "FeatureMatching", "backbone": "alexnet", "block": 1, "weights": None, "loss_weight": 2.0}
    loss = build_loss(options)
    assert isinstance(loss, names["FeatureMatching"])
    value, style = loss(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert float(value) > 0
    assert style is None
