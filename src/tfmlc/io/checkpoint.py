"""Checkpoints: safetensors files with metadata, and a safe reader of other programs' weights files."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import ConfigDict, TypeAdapter, with_config
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from tfmlc.errors import UserError
from tfmlc.io.files import open_regular, write_atomically
from tfmlc.io.not_weights import AGAIN, HEAD_BYTES, describe, describe_zip
from tfmlc.io.state_dicts import pick_state_dict
from tfmlc.io.torch_files import CodeError, TornError, read_archive, read_legacy
from tfmlc.runtime.progress import Progress

METADATA_KEY = "tfmlc"


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class CheckpointInfo:
    """The description that is stored in a weights file; a field is empty if the file does not have it.

    Attributes:
        kind: ``"network"``, ``"adapter"`` or ``"backbone"``.
        name: The name of the network or backbone.
        hyperparameters: The arguments that rebuild the module.
        origin: How the weights came to be.
        licence: The licence of the weights.
        sha256: The fingerprint of the tensors.
    """

    kind: str = ""
    name: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict[str, Any])
    origin: str = ""
    licence: str = ""
    sha256: str = ""

    def lines(self, weights: int) -> tuple[str, str, str]:
        """Return three lines for people: the number of weights and their fingerprint, the origin, and the licence."""
        return (
            f"weights   {weights / 1e6:.2f} million, sha256 {self.sha256 or 'not recorded'}",
            f"origin    {self.origin or 'not recorded'}",
            f"licence   {self.licence or 'not recorded'}",
        )


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the fingerprint of tensors: their names, types, shapes and values, whatever the file format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], info: CheckpointInfo) -> CheckpointInfo:
    """Write tensors to a safetensors file with a description.

    A tensor with several names, such as MPRNet's shared PReLU, is stored once, under its first name.

    Args:
        path: The file to write.
        tensors: The tensors by name.
        info: The description.

    Returns:
        The description, with the fingerprint added.

    Raises:
        UserError: If the file cannot be written.
    """
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.data_ptr() not in seen or not value.numel():
            stored[name] = value.detach().cpu().contiguous()
            seen.add(value.data_ptr())
    info = replace(info, sha256=tensors_sha256(stored))
    write_atomically(path, save(stored, {METADATA_KEY: json.dumps(asdict(info), sort_keys=True)}))
    return info


def read_tensors(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Read a weights file: safetensors, or what ``torch.save`` or ``torch.jit.save`` wrote.

    The content decides, not the suffix. The tensors can be in any containers (``state_dict``, ``params``, ``model``,
    ...) with any wrappers (``module.``, ``_orig_mod.``, ...), beside the state of an optimiser and other things; see
    ``state_dicts.pick_state_dict``. Averaged weights are preferred, and the origin says so. Code in a file is never
    run.

    Args:
        path: The file.

    Returns:
        The tensors by name, and the description.

    Raises:
        UserError: If the file is missing, damaged or not a weights file, or its pickle calls functions.
    """
    content, metadata = _read_content(path)
    info = _read_info(path, metadata)
    if info.sha256 and info.sha256 != tensors_sha256(cast("dict[str, Tensor]", content)):
        raise UserError(f"{path} is damaged: its tensors do not match their stored fingerprint")
    if info.kind:
        return cast("dict[str, Tensor]", content), info
    try:
        tensors, note = pick_state_dict(content)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    odd = [name for name, value in tensors.items() if value.layout != torch.strided or value.is_complex()]
    if odd:
        raise UserError(f"{path} holds {odd[0]} as {tensors[odd[0]].dtype}, {tensors[odd[0]].layout}, not as weights")
    if note:
        Progress("").say(f"{path}: {note}")
        info = replace(info, origin=f"{path.name}: {note}")
    return tensors, info


def read_info(path: Path) -> CheckpointInfo:
    """Return the description in a weights file; it is empty if another program wrote the file.

    Args:
        path: The file.

    Returns:
        The description.

    Raises:
        UserError: If the file is missing or a damaged safetensors file.
    """
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    return _read_info(path, read_safetensors(path)[1]) if _is_safetensors(head) else CheckpointInfo()


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a safetensors file; raises UserError if it is not one."""
    with open_regular(path) as file:
        head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
    if not _is_safetensors(head):
        raise UserError(describe(path, head, size))
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            names: list[str] = list(file.keys())
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
            return tensors, file.metadata() or {}
    except Exception as error:  # the library and torch raise many types for a damaged file
        whole = 8 + int.from_bytes(head[:8], "little") < size and "ncomplete" not in str(error)
        state = "not a safetensors file" if whole else f"cut short or damaged; {AGAIN}"
        raise UserError(f"{path} is {state} ({_first_line(error)})") from error


def _read_content(path: Path) -> tuple[object, dict[str, str]]:
    """Read the content and the metadata of a file, whose first bytes tell its format."""
    with open_regular(path) as file:
        head, size = file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size
        if _is_safetensors(head):
            return read_safetensors(path)
        try:
            with warnings.catch_warnings(), torch.device("cpu"), torch.inference_mode(False):
                warnings.simplefilter("ignore")  # what cannot be read becomes an error
                if head.startswith(b"PK\3\4"):
                    with zipfile.ZipFile(path) as archive:
                        return read_archive(archive), {}
                if head.startswith(b"\x80"):
                    file.seek(0)
                    return read_legacy(file), {}
        except CodeError as error:
            raise UserError(
                f"{path} is refused: its pickle calls {error}, and code in a file is never run; "
                "if you trust the file, load it with torch and save only its state dict"
            ) from error
        except TornError as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        except MemoryError as error:
            raise UserError(f"{path} does not fit into memory") from error
        except Exception as error:  # zipfile, pickle and torch raise many types for a damaged file
            if head.startswith(b"PK\3\4") and not _has_checkpoint(path):
                raise UserError(describe_zip(path)) from error
            raise UserError(f"{path} is damaged or cut short ({_first_line(error)}); {AGAIN}") from error
    raise UserError(describe(path, head, size))


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def _has_checkpoint(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[-1] == "data.pkl" for name in archive.namelist())
    except Exception:  # a damaged archive
        return False


def _read_info(path: Path, metadata: Mapping[str, str]) -> CheckpointInfo:
    try:
        return TypeAdapter(CheckpointInfo).validate_json(metadata.get(METADATA_KEY, "{}"), strict=True)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} was written by another version of tfmlc: its metadata cannot be read") from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
