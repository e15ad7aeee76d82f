"""Our networks against outputs of the official code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from seeded import VALUES, read_json, seeded_state

from tfmlc.networks import build_network, describe_network, load_network

CASES = {
    "hinet_w64": ("hinet", {}),
    "hinet_w16": ("hinet", {"width": 16}),
    "mprnet": ("mprnet", {}),
    "mprnet_lite": ("mprnet-lite", {}),
    "nafnet_w32": ("nafnet", {}),
}


def golden(case: str) -> tuple[dict[str, list[int]], dict[str, np.ndarray]]:
    with np.load(VALUES / f"{case}.npz") as values:
        return read_json(f"{case}.keys.json"), dict(values)


@pytest.mark.parametrize("case", CASES)
def test_equals_official_code(case: str) -> None:
    shapes, values = golden(case)
    name, sizes = CASES[case]
    network = build_network(name, **sizes).eval()
    network.load_state_dict(seeded_state(shapes, int(values["seed"])), strict=True)
    with torch.no_grad():
        stages = network(torch.from_numpy(values["input"]))
    official = [values[key] for key in sorted(values) if key.startswith("stage_")]
    if name.startswith("mprnet"):
        official.reverse()
    assert len(stages) == len(official)
    for stage, wanted in zip(stages, official, strict=True):
        assert np.abs(stage.numpy() - wanted).max() <= 1e-4 * wanted.std()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"params": s}, None])
@pytest.mark.parametrize("case", ["hinet_w16", "mprnet_lite"])
def test_reads_official_files(tmp_path: Path, case: str, wrap: object) -> None:
    shapes, values = golden(case)
    state = seeded_state(shapes, int(values["seed"]))
    content = {f"module.{k}": v for k, v in state.items()} if wrap is None else wrap(state)  # type: ignore[operator]
    torch.save(content, tmp_path / "official.pth")
    network = load_network(tmp_path / "official.pth")
    assert network.info.name == CASES[case][0]
    assert describe_network(network.state_dict())[1].items() >= CASES[case][1].items()
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key])
