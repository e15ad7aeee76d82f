"""Folders with a model card, and models on the Hugging Face Hub."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from tfmlc.errors import UserError
from tfmlc.io.files import write_atomically
from tfmlc.networks.network import Network
from tfmlc.networks.storage import load_network, save_network

WEIGHTS, CARD, SIGNED = "model.safetensors", "README.md", "Written by tfmlc "
HUB_LICENCES = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0")
TEXT = """
# {name}

A deblurring network of [tfmlc](https://pypi.org/project/tfmlc): it takes a blurry RGB image of any size and returns a
sharper one.

```python
from tfmlc.deblur import Deblurrer
from tfmlc.networks import from_pretrained

deblur = Deblurrer(from_pretrained("{place}"))
sharp = deblur(image)  # a PIL image, a uint8 or uint16 array h w c, or a tensor b 3 h w in [0, 1]
```

```
{explained}
```

Written by tfmlc {version}.
"""


def save_pretrained(folder: str | Path, network: Network, *, name: str = "") -> Path:
    """Write a network and its model card to a folder, as the Hugging Face Hub expects them.

    Args:
        folder: The folder. It gets ``model.safetensors`` and ``README.md``. A card that a person wrote is kept.
        network: The network. Its information must say its licence.
        name: What the card calls it, such as ``"me/my-deblurrer"``; by default the name of the folder.

    Returns:
        The folder.

    Raises:
        UserError: If the licence of the weights is not recorded, or the folder cannot be written.

    Example:
        >>> import dataclasses
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8, depth=2)
        >>> network.info = dataclasses.replace(network.info, licence="CC0-1.0", origin="an example")
        >>> with TemporaryDirectory() as place:
        ...     sorted(path.name for path in save_pretrained(place, network).iterdir())
        ['README.md', 'model.safetensors']
    """
    _check_licence(network)
    folder, info = Path(folder), network.info
    save_network(folder / WEIGHTS, network, origin=info.origin, licence=info.licence)
    card, name = folder / CARD, name or folder.resolve().name
    if not card.exists() or SIGNED in card.read_text(encoding="utf-8", errors="replace"):
        write_atomically(card, _card(load_network(folder / WEIGHTS), name).encode())
    return folder


def from_pretrained(source: str | Path, *, revision: str | None = None, token: str | None = None) -> Network:
    """Load a network from a folder that ``save_pretrained`` wrote, or from the Hugging Face Hub.

    Args:
        source: A folder, or the name of a repository, such as ``"me/my-deblurrer"``.
        revision: A branch, a tag or a commit of the repository.
        token: The access token for a private repository; by default the one that ``hf auth login`` stored.

    Returns:
        The network, in evaluation mode.

    Raises:
        UserError: If there is no such folder or repository, the Hub cannot be reached, or the file cannot be loaded.

    Example:
        >>> from_pretrained("no/such/folder")
        Traceback (most recent call last):
        tfmlc.errors.UserError: no/such/folder is neither a folder nor the name of a repository, such as owner/name
    """
    if Path(source).is_dir():
        return load_network(Path(source) / WEIGHTS)
    import huggingface_hub as hub
    from huggingface_hub.errors import HFValidationError

    try:
        return load_network(hub.hf_hub_download(str(source), WEIGHTS, revision=revision, token=token))
    except HFValidationError as error:
        raise UserError(f"{source} is neither a folder nor the name of a repository, such as owner/name") from error
    except UserError:
        raise
    except Exception as error:  # no network, no such repository or file, no right to read it
        raise _unreachable(
            f"cannot load {source}: there is no such folder, and the Hub has no answer", error
        ) from error


def push_to_hub(repository: str, network: Network, *, private: bool = False, token: str | None = None) -> str:
    """Publish a network with its model card on the Hugging Face Hub; a card that a person wrote there is kept.

    Args:
        repository: The name of the repository, such as ``"me/my-deblurrer"``. It is created if it does not exist.
        network: The network. Its information must say its licence.
        private: Whether a new repository is private.
        token: The access token; by default the one that ``hf auth login`` stored.

    Returns:
        The address of the model.

    Raises:
        UserError: If the licence of the weights is not recorded, or the Hub cannot be reached or refuses.

    Example:
        >>> from tfmlc.networks import build_network
        >>> push_to_hub("me/my-deblurrer", build_network("hinet", width=8))
        Traceback (most recent call last):
        tfmlc.errors.UserError: the licence of these weights is not recorded: record it first with tfmlc models convert
    """
    from huggingface_hub import HfApi

    _check_licence(network)
    with TemporaryDirectory() as folder:
        api = HfApi(token=token, library_name="tfmlc", library_version=version("tfmlc"))
        try:
            address = api.create_repo(repository, private=private, exist_ok=True)
            if api.file_exists(repository, CARD):
                api.hf_hub_download(repository, CARD, local_dir=folder)
            save_pretrained(folder, network, name=repository)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Weights and model card")
        except UserError:
            raise
        except Exception as error:  # no network, no token, no right to write
            raise _unreachable(f"cannot publish {repository}", error) from error
    return str(address)


def _check_licence(network: Network) -> None:
    if not network.info.licence:
        raise UserError("the licence of these weights is not recorded: record it first with tfmlc models convert")


def _card(network: Network, name: str) -> str:
    """Return the model card of a network as Markdown with metadata."""
    from huggingface_hub import ModelCardData

    licence = network.info.licence
    known = licence.lower() in HUB_LICENCES
    data = ModelCardData(
        library_name="tfmlc",
        license=licence.lower() if known else "other",
        license_name=None if known else licence,
        pipeline_tag="image-to-image",
        tags=["deblurring", "image-restoration", network.info.name],
    )
    text = TEXT.format(name=name, place=name, explained=network.explain(), version=version("tfmlc"))
    return f"---\n{data.to_yaml()}\n---\n{text}"


def _unreachable(what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return UserError(f"{what}: {reason}; check the name, the network and the token (hf auth login)")


__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]
