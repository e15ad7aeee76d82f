"""The names that ``import tfmlc`` offers: which they are, and what they cost."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
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


DOCUMENTED = {
    "tfmlc": [
        "Adapter",
        "Deblurrer",
        "FeatureMatchingLoss",
        "build_backbone",
        "build_network",
        "load_network",
        "score",
    ],
    "tfmlc.backbones": ["Backbone"],
    "tfmlc.data": ["blur_windows"],
    "tfmlc.deblur": ["blurriness", "deblur_video"],
    "tfmlc.io.images": ["read_image", "write_image"],
    "tfmlc.losses": ["BaselineLoss", "charbonnier", "edge", "psnr_loss"],
    "tfmlc.losses.objectives": ["DeblurringObjective"],
    "tfmlc.losses.triplet": ["ranking_loss", "triplet_loss"],
    "tfmlc.metrics.fidelity": ["psnr", "ssim_2d", "ssim_3d", "ssim_luma"],
    "tfmlc.metrics.periodicity": ["periodicity"],
    "tfmlc.networks": ["Network", "blend_networks", "from_pretrained", "push_to_hub", "save_pretrained"],
    "tfmlc.networks.hinet": ["HINet"],
    "tfmlc.networks.mprnet": ["MPRNet"],
    "tfmlc.networks.nafnet": ["NAFNet"],
    "tfmlc.networks.onnx": ["export_onnx"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in DOCUMENTED.items() for name in names])
def test_public_docstrings_have_arguments_and_an_example(module: str, name: str) -> None:
    thing = getattr(import_module(module), name)
    text = inspect.getdoc(thing) or ""
    sections = dict(zip(*[iter(re.split(r"^(\w+):\n", text, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert "Args" in sections
    assert ">>> " in sections.get("Example", "")
    for parameter in inspect.signature(thing).parameters.values():
        assert f"{'**' * (parameter.kind is parameter.VAR_KEYWORD)}{parameter.name}: " in sections["Args"]


def test_public_callables_are_typed() -> None:
    """No keyword of a public name disappears in ``**options``, but for the hyperparameters of a network's row."""
    things = [getattr(import_module(module), name) for module, names in DOCUMENTED.items() for name in names]
    loads = [tfmlc.Adapter.load, tfmlc.Deblurrer.load, tfmlc.FeatureMatchingLoss.load]
    for thing in [*things, *loads]:
        for parameter in inspect.signature(thing).parameters.values():
            assert thing is tfmlc.build_network or parameter.kind is not parameter.VAR_KEYWORD
            assert parameter.annotation is not parameter.empty
            assert thing is tfmlc.build_network or parameter.annotation != "Any"
