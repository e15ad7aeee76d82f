"""A folder with a model card gives the network back; without a network the Hub is one line."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tfmlc.errors import UserError
from tfmlc.networks import Network, build_network, from_pretrained, push_to_hub, save_pretrained


@pytest.fixture
def network() -> Network:
    network = build_network("hinet", width=8, depth=2).eval()
    network.info = replace(network.info, licence="Apache-2.0", origin="made for a test")
    return network


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The port of nothing, so that the test is the same with and without a network."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def test_a_folder_gives_the_network_back_with_its_card(network: Network, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    folder = save_pretrained(tmp_path / "mine", network)
    again = from_pretrained(folder)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())
    assert again.info.licence == "Apache-2.0"
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "tfmlc")
    assert 'from_pretrained("mine")' in card.text
    assert "made for a test" in card.text
    assert again.info.sha256 in card.text


def test_another_licence_keeps_its_name(network: Network, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    network.info = replace(network.info, licence="Unsplash Licence")
    card = ModelCard.load(save_pretrained(tmp_path, network) / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "Unsplash Licence")


def test_without_a_licence_nothing_is_written(network: Network, tmp_path: Path) -> None:
    network.info = replace(network.info, licence="")
    with pytest.raises(UserError, match="licence of these weights is not recorded"):
        save_pretrained(tmp_path / "mine", network)
    assert not list(tmp_path.iterdir())


@pytest.mark.heavy
@pytest.mark.usefixtures("no_hub")
def test_without_a_network_there_is_one_line(network: Network) -> None:
    with pytest.raises(UserError, match=r"cannot load me/mine: .*check the name, the network and the token"):
        from_pretrained("me/mine")
    with pytest.raises(UserError, match=r"cannot publish me/mine: .*check the name, the network and the token"):
        push_to_hub("me/mine", network, token="hf_none")


def test_an_empty_folder_names_the_file_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors"):
        from_pretrained(tmp_path)


def test_a_card_that_a_person_wrote_is_kept(network: Network, tmp_path: Path) -> None:
    card = save_pretrained(tmp_path, network, name="one") / "README.md"
    save_pretrained(tmp_path, network, name="another")
    assert "# another" in card.read_text()
    card.write_text("# Mine\n")
    save_pretrained(tmp_path, network)
    assert card.read_text() == "# Mine\n"


def test_a_card_that_a_person_wrote_on_the_hub_is_kept(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder stands for the Hub."""
    (tmp_path / "README.md").write_text("# Mine\n")

    def download(_: object, __: str, name: str, *, local_dir: str) -> None:
        shutil.copy(tmp_path / name, local_dir)

    def upload(_: object, *, folder_path: str, **__: str) -> None:
        shutil.copytree(folder_path, tmp_path, dirs_exist_ok=True)

    for name, answer in {
        "create_repo": lambda *_, **__: "https://hub.invalid/me/mine",
        "file_exists": lambda _, __, name: (tmp_path / name).exists(),
        "hf_hub_download": download,
        "upload_folder": upload,
    }.items():
        monkeypatch.setattr(f"huggingface_hub.HfApi.{name}", answer)
    push_to_hub("me/mine", network)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    assert from_pretrained(tmp_path).info.licence == "Apache-2.0"
