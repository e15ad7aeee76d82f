"""The pages on using the loss elsewhere run as they stand."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

PAGES = Path(__file__).parent.parent.parent / "docs" / "drop-in"


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
