"""The one checkpoint form: safetensors with metadata, and a careful reader of foreign files."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tfmlc.errors import UserError

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


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: an interruption or a full disk leaves what was there before."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


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
    about = Origin(**{**asdict(about), "sha256": tensors_sha256(stored)})
    write_atomically(path, save(stored, {METADATA_KEY: json.dumps(asdict(about), sort_keys=True)}))
    return about


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Origin]:
    """Read a weights file: ours or another's safetensors, or a ``.pth`` that holds nothing but tensors.

    ``.pth`` files may keep their tensors under ``state_dict``, ``params_ema``, ``params`` or ``model``, and
    with the prefix ``module.``. Raises UserError for a missing file, one that is no weights file, and a pickle
    with code in it, which is never run.
    """
    if not path.is_file():
        raise UserError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols; what cannot be read is an error
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is not a safetensors file: {error}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds more than tensors, and running code from it is not safe"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is not a weights file torch can read: {str(error).splitlines()[0]}") from error
    return _plain_tensors(path, content), Origin()


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Origin]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: cast(Tensor, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        metadata = cast("dict[str, str]", file.metadata() or {})
    try:
        about = Origin(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else Origin()
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
