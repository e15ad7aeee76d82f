"""The one checkpoint form: safetensors with metadata, and a careful reader of foreign files."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.files import write_atomically

METADATA_KEY = "tfmlc"
CONTAINERS = ("state_dict", "params_ema", "params", "model")


@dataclass(frozen=True)
class Origin:
    """What a weights file says of itself; empty fields where it says nothing."""

    kind: str = ""
    name: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict[str, Any])
    origin: str = ""
    licence: str = ""
    sha256: str = ""


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Fingerprint of names, types, shapes and values, whatever file they are stored in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], about: Origin) -> Origin:
    """Write tensors as safetensors with metadata; return the metadata with its fingerprint filled in.

    A tensor that appears under several names (MPRNet's shared PReLU) is stored once, under the first.
    """
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.data_ptr() not in seen or not value.numel():
            stored[name] = value.detach().cpu().contiguous()
            seen.add(value.data_ptr())
    about = replace(about, sha256=tensors_sha256(stored))
    write_atomically(path, save(stored, {METADATA_KEY: json.dumps(asdict(about), sort_keys=True)}))
    return about


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Origin]:
    """Read a weights file: ours or another's safetensors, or a ``.pth`` that holds nothing but tensors.

    ``.pth`` files may keep their tensors under ``state_dict``, ``params_ema``, ``params`` or ``model``, and
    with the prefix ``module.``; of a TorchScript archive (OpenAI's ``.pt``) the state dict is taken. Raises
    UserError for a missing file, one that is no weights file, and a pickle with code in it, which is never run.
    """
    if not path.is_file():
        raise UserError(f"no weights file at {path}")
    if path.suffix == ".safetensors":
        return _read_ours(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols; what cannot be read is an error
            content: object
            if _is_torchscript(path):
                content = dict(cast(Any, torch.jit).load(path, map_location="cpu").state_dict())
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors, and running code from it is not safe"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is not a weights file torch can read: {str(error).splitlines()[0]}") from error
    return _plain_tensors(path, content), Origin()


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises UserError where it is none."""
    try:
        with cast(Any, safe_open)(path, framework="pt") as file:
            names = cast("list[str]", list(file.keys()))
            tensors = {name: cast(Tensor, file.get_tensor(name)) for name in names}
            return tensors, cast("dict[str, str]", file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {str(error).splitlines()[0]}") from error


def _is_torchscript(path: Path) -> bool:
    """Whether a file is an archive that ``torch.jit.save`` wrote; its tensors are read without Python's pickle."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_ours(path: Path) -> tuple[dict[str, Tensor], Origin]:
    tensors, metadata = read_safetensors(path)
    try:
        about = Origin(**cast("dict[str, Any]", json.loads(metadata.get(METADATA_KEY, "{}"))))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} was written by another version of tfmlc: its metadata does not fit") from error
    if about.sha256 and about.sha256 != tensors_sha256(tensors):
        raise UserError(f"{path} is damaged: its tensors do not match the fingerprint stored with them")
    return tensors, about


def _plain_tensors(path: Path, content: object) -> dict[str, Tensor]:
    for container in CONTAINERS:
        if isinstance(content, dict) and isinstance(inner := cast("dict[str, object]", content).get(container), dict):
            content = cast("dict[str, object]", inner)
            break
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not named tensors")
    named = cast("dict[str, object]", content)
    tensors = {str(name).removeprefix("module."): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{path} holds no tensors; its keys are {', '.join(list(map(str, named))[:5])}")
    return tensors
