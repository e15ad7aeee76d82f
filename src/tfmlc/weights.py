"""Where weights come from: those that ship in the package, by name, and files."""

from __future__ import annotations

from pathlib import Path

from tfmlc.errors import unknown_name

SHIPPED = Path(__file__).parent / "pretrained"


def shipped_models() -> dict[str, Path]:
    """Deblurring models in the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def find_model(model: str | Path) -> Path:
    """The weights file behind a model's name or path; an unknown name is answered with the nearest one."""
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    path = Path(model)
    if path.suffix or path.exists() or path.parent != Path():
        return path
    raise unknown_name("model", str(model), shipped)
