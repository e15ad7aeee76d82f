"""The names that ``import tfmlc`` offers: which they are, and what they cost."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import tfmlc

NAMES = [
    "Adapter",
    "Deblurrer",
    "FeatureMatchingLoss",
    "__version__",
    "build_backbone",
    "build_network",
    "load_network",
    "score",
]
HEAVY = ["torch", "torchvision", "timm", "numpy", "cv2", "PIL", "pydantic", "typer"]


def test_import_loads_no_heavy_package() -> None:
    code = f"import sys, tfmlc; dir(tfmlc); print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_name_is_listed_and_loads() -> None:
    assert sorted(tfmlc.__all__) == NAMES
    assert set(NAMES) <= set(dir(tfmlc))
    assert all(getattr(tfmlc, name) is getattr(tfmlc, name) for name in NAMES)
    assert tfmlc.__version__ == version("tfmlc")


def test_names_are_those_of_the_packages() -> None:
    from tfmlc.deblur import Deblurrer
    from tfmlc.evaluation import score
    from tfmlc.losses import FeatureMatchingLoss

    assert tfmlc.Deblurrer is Deblurrer
    assert tfmlc.score is score
    assert tfmlc.FeatureMatchingLoss is FeatureMatchingLoss


def test_a_typo_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tfmlc' has no attribute 'Deblurer'"):
        _ = tfmlc.Deblurer  # type: ignore[attr-defined]
    code = "import tfmlc; tfmlc.Deblurer"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "Did you mean: 'Deblurrer'?" in said
