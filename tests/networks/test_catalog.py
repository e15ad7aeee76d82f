"""Networks by name, by file, of any size; and files that must be refused."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.networks import (
    Network,
    blend_networks,
    build_network,
    describe_network,
    load_network,
    save_network,
)
from tfmlc.networks.local_statistics import with_local_statistics

SMALL: dict[str, dict[str, Any]] = {
    "hinet": {"width": 8, "depth": 3, "normalised_levels": (1, 2)},
    "mprnet": {"width": 16, "unet_step": 8, "original_step": 4, "original_blocks": 2},
    "mprnet-lite": {"original_blocks": 1},
    "nafnet": {"width": 8, "middle_blocks": 1, "encoder_blocks": (1, 2), "decoder_blocks": (1, 1)},
    "spectral-unet": {
        "widths": (8, 12, 16),
        "encoder_blocks": (1, 2, 1),
        "decoder_blocks": (2, 1),
        "code": 8,
        "head": (4, 6, 4),
    },
}
VARIANTS = [
    *SMALL.items(),
    ("hinet", {"width": 8, "depth": 2, "normalised_levels": None}),
    ("hinet", {"width": 8, "depth": 3, "normalised_levels": (0, 1), "unshuffle": 2}),
    ("hinet", {"width": 8, "depth": 3, "normalised_levels": (1, 2), "unshuffle": 4, "head": 6}),
    ("hinet", {"width": 8, "depth": 2, "normalised_levels": (0, 1), "unshuffle": 2, "scales": 2}),
    ("nafnet", {"width": 8, "encoder_blocks": (1,), "decoder_blocks": (2,), "unshuffle": 4}),
    ("nafnet", {"width": 8, "middle_blocks": 0, "encoder_blocks": (0, 1), "decoder_blocks": (1, 0)}),
    (
        "spectral-unet",
        {"widths": (8, 16), "encoder_blocks": (1, 3), "decoder_blocks": (2,), "code": 8, "head": (3, 4, 5)},
    ),
    ("mprnet", {"width": 8, "unet_step": 4, "original_step": 2, "original_blocks": 3, "reduction": 2}),
]


def small(name: str) -> Network:
    torch.manual_seed(0)
    return build_network(name, **SMALL[name]).eval()


@pytest.mark.parametrize(("name", "sizes"), VARIANTS)
def test_sizes_are_read_back_from_shapes(name: str, sizes: dict[str, Any]) -> None:
    found, measured = describe_network(build_network(name, **sizes).state_dict())
    expected = {key: value for key, value in sizes.items() if key != "width" or name != "mprnet-lite"}
    assert found == name
    assert {key: measured[key] for key in expected} == expected


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 7), (16, 16), (33, 50)])
@pytest.mark.parametrize("name", SMALL)
def test_any_size_in_same_size_out(name: str, size: tuple[int, int]) -> None:
    with torch.no_grad():
        stages = small(name)(torch.rand(2, 3, *size))
    assert {stage.shape for stage in stages} == {(2, 3, *size)}
    assert all(torch.isfinite(stage).all() for stage in stages)


@pytest.mark.parametrize(
    ("name", "step"), [("hinet", 16), ("mprnet", 8), ("mprnet-lite", 8), ("nafnet", 16), ("spectral-unet", 32)]
)
def test_steps(name: str, step: int) -> None:
    assert build_network(name, **({} if name != "hinet" else {"width": 8})).size_multiple == step


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_change_sizes_that_fit(name: str) -> None:
    network = small(name)
    image = torch.rand(1, 3, 2 * network.size_multiple, 3 * network.size_multiple)
    with torch.no_grad():
        assert torch.equal(network(image)[-1], network.restore(image)[-1])


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8), (0, 3, 8, 8), (1, 3, 0, 8)])
def test_other_tensors_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="b 3 h w"):
        small("hinet")(torch.zeros(shape))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded(tmp_path: Path, name: str, half: bool) -> None:
    network = small(name)
    save_network(tmp_path / "a.safetensors", network, origin="a test", licence="CC0-1.0", half=half)
    back = load_network(tmp_path / "a.safetensors")
    assert (back.info.name, back.info.origin, back.info.licence) == (name, "a test", "CC0-1.0")
    assert not back.training
    for key, value in network.state_dict().items():
        assert torch.equal(back.state_dict()[key], value.half().float() if half else value)
    image = torch.rand(1, 3, 20, 30)
    with torch.no_grad():
        assert torch.allclose(back(image)[-1], network(image)[-1], atol=2e-2 if half else 0)


def test_shared_prelu_stays_shared_and_is_saved_once(tmp_path: Path) -> None:
    network = small("mprnet")
    slopes = [value for key, value in network.state_dict(keep_vars=True).items() if key.endswith("body.1.weight")]
    one_element = [slope for slope in slopes if slope.numel() == 1]
    assert len(one_element) > 20
    assert len({id(slope) for slope in one_element}) == 1
    save_network(tmp_path / "a.safetensors", network, origin="", licence="")
    stored, _ = read_tensors(tmp_path / "a.safetensors")
    assert sum(value.numel() == 1 for value in stored.values()) == 1


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'hinet'"):
        build_network("hiNet2")
    with pytest.raises(UserError, match="widht"):
        build_network("hinet", widht=8)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def bad_weights(folder: Path, case: str) -> Path:
    path = folder / f"{case}.pth"
    state = small("hinet").state_dict()
    if case == "nan":
        state["last.weight"][0, 0, 0, 0] = float("nan")
    elif case == "missing":
        del state["last.bias"]
    elif case == "surplus":
        state["extra.weight"] = torch.zeros(3)
    elif case == "shape":
        state["last.weight"] = torch.zeros(3, 9, 3, 3)
    elif case == "unknown":
        state = {"conv1.weight": torch.zeros(3)}
    torch.save(state, path)
    if case == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    elif case == "text":
        path.write_text("no weights")
    elif case == "damaged":
        path = path.with_suffix(".safetensors")
        save_network(path, small("hinet"), origin="", licence="")
        content = bytearray(path.read_bytes())
        content[-3] ^= 0xFF
        path.write_bytes(bytes(content))
    elif case == "cut":
        path = path.with_suffix(".safetensors")
        save_network(path, small("hinet"), origin="", licence="")
        path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("nan", "not finite in last.weight"),
        ("missing", "lacks last.bias"),
        ("surplus", "surplus tensor: extra.weight"),
        ("shape", r"last.weight is \(3, 9, 3, 3\)"),
        ("unknown", "not a known network"),
        ("pickle", "refused"),
        ("text", "refused|not a weights file"),
        ("damaged", "damaged"),
        ("cut", "is cut short or damaged"),
    ],
)
def test_bad_weights_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, reason: str
) -> None:
    path = bad_weights(tmp_path, case)
    with pytest.raises(UserError, match=reason) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", SMALL)
def test_weights_between_two_networks(tmp_path: Path, name: str) -> None:
    one, other = small(name), build_network(name, **SMALL[name])
    half_way = blend_networks(one, other, 0.5)
    further = blend_networks(one, other, 0.25, onto=other)
    for key, value in further.state_dict().items():
        change = other.state_dict()[key] - one.state_dict()[key]
        assert torch.allclose(value, other.state_dict()[key] + change / 4, atol=1e-6), key
    for key, value in half_way.state_dict().items():
        assert torch.allclose(value, (one.state_dict()[key] + other.state_dict()[key]) / 2, atol=1e-6), key
    save_network(tmp_path / "b.safetensors", half_way, origin=half_way.info.origin, licence="Apache-2.0")
    assert load_network(tmp_path / "b.safetensors").info.origin.startswith("0.5 of the way from: ")
    with pytest.raises(UserError, match="only networks of the same form"):
        blend_networks(one, build_network("hinet", width=24), 0.5)
    with pytest.raises(UserError, match=r"the blend factor must lie in \[0, 1\]; it is 1.5"):
        blend_networks(one, other, 1.5)


def test_what_a_network_shows(tmp_path: Path) -> None:
    assert repr(small("hinet")).splitlines()[1].strip() == "size_multiple=4"
    save_network(tmp_path / "a.safetensors", small("hinet"), origin="", licence="")
    shown = repr(load_network(tmp_path / "a.safetensors")).splitlines()[1]
    assert "name='hinet', width=" in shown
    assert "window=" in repr(with_local_statistics(small("hinet"), crop_px=64))


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("hinet", {"widht": 8}, "did you mean 'width'"),
        ("hinet", {"width": 0}, "width = 0"),
        ("hinet", {"width": "a"}, "width = 'a'"),
        ("hinet", {"depth": 0}, "depth = 0"),
        ("hinet", {"scales": 3}, "scales = 3"),
        ("hinet", {"unshuffle": 0}, "unshuffle = 0"),
        ("mprnet", {"width": 8, "reduction": 16}, "reduction=16 must be at most width=8"),
        ("nafnet", {"encoder_blocks": [1, 1], "decoder_blocks": [1]}, "a number per level"),
        ("spectral-unet", {"widths": [8, 8], "encoder_blocks": [1], "decoder_blocks": [1]}, "a number per level"),
        ("spectral-unet", {"widths": [], "encoder_blocks": [], "decoder_blocks": []}, "at least 1 item"),
    ],
)
def test_impossible_sizes_are_one_line(name: str, sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        build_network(name, **sizes)
