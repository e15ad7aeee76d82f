"""Weights as people have them: under wrappers and containers, averaged, beside an optimiser; files that hold none."""

from __future__ import annotations

import argparse
import itertools
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.networks import build_network, load_network

SIZES: dict[str, Any] = {"width": 8, "depth": 2, "normalised_levels": None}
WRAPPERS = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.")
CONTAINERS = ((), ("state_dict",), ("params",), ("params_ema",), ("model", "state_dict"), ("state_dict_ema",))


def network_state(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return build_network("hinet", **SIZES).state_dict()


def same(path: Path, state: dict[str, Tensor]) -> bool:
    found = load_network(path).state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[name], value) for name, value in state.items())


@pytest.mark.parametrize(("wrapper", "containers"), [*itertools.product(WRAPPERS, CONTAINERS)])
def test_wrappers_and_containers(tmp_path: Path, wrapper: str, containers: tuple[str, ...]) -> None:
    state = network_state()
    content: Any = {f"{wrapper}{name}": value for name, value in state.items()}
    for container in reversed(containers):
        content = {container: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}
    torch.save(content, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth", state)
    dotted = ".".join([*containers, wrapper]) if containers else wrapper
    save_file({f"{dotted}{name}": value for name, value in state.items()}, tmp_path / "a.safetensors")
    assert same(tmp_path / "a.safetensors", state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_averaged_weights_are_preferred_and_said(tmp_path: Path, suffix: str) -> None:
    last, averaged = network_state(0), network_state(1)
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save({"params": last, "params_ema": averaged, "iter": 5}, path)
    else:
        save_file(
            {
                f"{group}.{k}": v
                for group, state in (("params", last), ("params_ema", averaged))
                for k, v in state.items()
            },
            path,
        )
    assert same(path, averaged)
    assert "averaged weights (params_ema) are used" in read_tensors(path)[1].origin


def test_averaged_model_of_torch(tmp_path: Path) -> None:
    network = build_network("hinet", **SIZES)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    torch.save(averaged.state_dict(), tmp_path / "a.pth")  # has n_averaged, and module. before every name
    assert same(tmp_path / "a.pth", network.state_dict())


def test_settings_beside_the_weights(tmp_path: Path) -> None:
    state = network_state()
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=1), "best": np.float64(3.0)}, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth", state)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("code-ran"),))


NOT_WEIGHTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "page": (b"<!DOCTYPE html><html><body>Google Drive - Virus scan warning</body></html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    "zeros": (bytes(5000), "only zeros"),
    "json": (b'{"message": "not found"}', "JSON file"),
    "photo": (b"\xff\xd8\xff\xe0\0\x10JFIF", "not weights"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", NOT_WEIGHTS)
def test_files_that_hold_no_weights_are_said_to_be_what_they_are(tmp_path: Path, case: str, suffix: str) -> None:
    content, sentence = NOT_WEIGHTS[case]
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(UserError, match=sentence) as raised:
        load_network(tmp_path / f"a{suffix}")
    assert "\n" not in str(raised.value)


def test_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("weights.pth", b"x")
    with pytest.raises(UserError, match=r"zip archive but not a checkpoint: it holds weights\.pth"):
        load_network(tmp_path / "a.zip")
    torch.save(network_state(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for part in (0.3, 0.9):
        (tmp_path / "cut.pth").write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(UserError, match=r"cut short|damaged"):
            load_network(tmp_path / "cut.pth")


def test_code_in_a_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": network_state(), "callback": Evil()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(UserError, match=r"is refused|torch\.save did not write"):
            load_network(tmp_path / name)
    assert not (tmp_path / "code-ran").exists()


def test_a_whole_pickled_module_gives_its_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 3, 3)))
    torch.save(model, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth")[0].keys() == model.state_dict().keys()
