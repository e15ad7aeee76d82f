"""A safe reader of files that ``torch.save`` and ``torch.jit.save`` wrote: it never runs code of a file.

``torch.load(weights_only=True)`` refuses many real checkpoints, for example if a NumPy number or an
``argparse.Namespace`` is stored beside the tensors, and ``torch.jit.load`` runs code. This reader replaces each name
in the pickle that does not make a tensor by an inert stand-in. It also checks the checksums of archives.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from tfmlc.typed import is_record

MAGIC = 0x1950A86A20F9469CFC6C  # files of older versions of torch.save begin with it
HARMLESS_CALLS = (  # make data beside the weights, which is not read
    *("numpy.", "pathlib.", "datetime.", "collections.", "argparse.", "uuid.", "decimal.", "fractions.", "omegaconf."),
    *("torch._utils.", "torch._tensor.", "torch.device", "torch.Size", "torch.serialization._get_layout"),
    *("builtins.set", "builtins.frozenset", "builtins.complex", "builtins.bytearray", "builtins.slice"),
    *("builtins.range", "builtins.list", "builtins.dict", "builtins.tuple", "_codecs.encode"),
)
MOST_PER_BYTE = 64  # weights hardly compress; zeros do
OBJECT_MAKERS = ("copy_reg._reconstructor", "copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__")
MOST_EXPANDED = 1 << 24  # how many more values a tensor can have than are stored, by repetition


class CodeError(Exception):
    """A pickle calls a function that makes neither tensors nor common data; the text is the function's name."""


class TornError(Exception):
    """A file is incomplete or inconsistent; the text says what is wrong."""


class StandIn:
    """Replaces an object of a class that is not loaded, and keeps the state of the object."""

    name = ""

    def __new__(cls, *_: object, **__: object) -> StandIn:
        """Accept and ignore any arguments."""
        made = super().__new__(cls)
        made.state = {}
        return made

    state: dict[Any, Any]

    def __setstate__(self, state: object) -> None:
        parts = cast("tuple[object, ...]", state) if isinstance(state, tuple) else (state,)
        for part in parts:
            if is_record(part):
                self.state.update(part)

    def __setitem__(self, key: Any, value: object) -> None:
        self.state[key] = value

    def append(self, value: object) -> None:
        """Ignore an item of a list."""

    def extend(self, values: object) -> None:
        """Ignore items of a list."""

    def add(self, value: object) -> None:
        """Ignore an item of a set."""

    def members(self) -> dict[Any, Any]:
        """Return the members of the object: a module's parameters, buffers and submodules, else its state."""
        if isinstance(self.state.get("_parameters"), dict):
            return {
                k: v for part in ("_parameters", "_buffers", "_modules") for k, v in self.state.get(part, {}).items()
            }
        return self.state


class _Name(type):
    """The metaclass of stand-ins; calling one like a function runs nothing."""

    name: str

    def __call__(cls, *args: object) -> object:
        made = args[0] if cls.name in OBJECT_MAKERS and args else cls
        if made is cls and not cls.name.startswith(HARMLESS_CALLS):
            raise CodeError(cls.name)
        return StandIn.__new__(cast("type[StandIn]", made)) if isinstance(made, _Name) else None


def _stand_in(name: str) -> type:
    return _Name("StandIn", (StandIn,), {"name": name.replace("__builtin__.", "builtins.")})  # protocol 2's name


def read_archive(archive: zipfile.ZipFile) -> object:
    """Return the content of an archive that ``torch.save`` or ``torch.jit.save`` wrote."""
    entries = {info.filename: info for info in archive.infolist()}
    if sum(info.file_size for info in entries.values()) > MOST_PER_BYTE * (archive.start_dir + 64 * len(entries)):
        raise TornError("its compression is far too high for weights")  # entries can also share their bytes
    root = next(name.removesuffix("data.pkl") for name in entries if name == "data.pkl" or name.endswith("/data.pkl"))
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") == b"big":
        raise TornError("it was written on a big-endian machine: save it again on this machine")
    stored: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:  # noqa: ARG001 - the archive knows its size
        if key not in stored:
            info = entries[f"{root}data/{key}"]
            content = torch.empty(info.file_size, dtype=torch.uint8)
            opened: Any = archive.open(info)
            with opened as file:
                file.readinto(_bytes_of(content))
                file.read()  # checks the checksum
            stored[key] = content
        return stored[key]

    return _Unpickler(archive.read(f"{root}data.pkl"), storage).load()


def read_legacy(file: BinaryIO) -> object:
    """Return the content of a file in the format of ``torch.save`` before PyTorch 1.6."""
    whole = file.read()
    stream = io.BytesIO(whole)
    if _Unpickler(_next_pickle(stream), _no_storage).load() != MAGIC:
        raise TornError("it is a pickle that torch.save did not write: save the state dict with torch.save")
    for _ in ("protocol", "machine"):
        _next_pickle(stream)
    stored: dict[str, Tensor] = {}
    widths: dict[str, int] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in stored:
            if not 0 <= count * dtype.itemsize <= len(whole):
                raise TornError("it is cut short: download it again")
            stored[key] = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
            widths[key] = dtype.itemsize
        return stored[key]

    content = _Unpickler(_next_pickle(stream), storage).load()
    for key in _Unpickler(_next_pickle(stream), _no_storage).load():
        size = int.from_bytes(stream.read(8), "little") * widths[str(key)]
        if size != stored[str(key)].numel() or stream.readinto(_bytes_of(stored[str(key)])) != size:
            raise TornError("it is cut short: download it again")
        stored.pop(str(key))
    return content


def _bytes_of(storage: Tensor) -> memoryview:
    numbers: Any = storage.numpy()
    return memoryview(numbers)


def _next_pickle(stream: io.BytesIO) -> bytes:
    """Return the bytes of the pickle at the current position of a stream."""
    start = stream.tell()
    for _ in pickletools.genops(stream):
        pass
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


def _no_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
    raise TornError(f"it stores {count} values of {dtype} as {key} in an unexpected place")


class _Unpickler(pickle.Unpickler):
    """Reads tensors, containers, numbers and text; replaces everything else by stand-ins."""

    def __init__(self, content: bytes, storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        for code, argument, _ in pickletools.genops(content):
            if "PUT" in code.name and isinstance(argument, int) and argument > len(content):
                raise TornError("its pickle is damaged")  # and would allocate a list of that length
        super().__init__(io.BytesIO(content))
        self._storage = storage

    def find_class(self, module: str, name: str, /) -> Any:
        full = f"{module}.{name}"
        if full in MAKERS:
            return MAKERS[full]
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return STORAGES.get(name.removesuffix("Storage"), full)
        dtype = getattr(torch, name, None) if module == "torch" else None
        return dtype if isinstance(dtype, torch.dtype) else _stand_in(full)

    def persistent_load(self, pid: Any, /) -> Any:
        if pid[0] != "storage":
            return pid[1]
        dtype = pid[1]
        if not isinstance(dtype, torch.dtype):
            raise TornError(f"tensors of type {dtype} are not supported: save them as floats")
        content = self._storage(str(pid[2]), dtype, int(pid[4])).view(dtype)
        if len(pid) > 5 and pid[5] is not None:  # older files have views of other storages
            _, start, count = pid[5]
            return content[start : start + count]
        return content


STORAGES: dict[str, torch.dtype] = {
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "Untyped": torch.uint8, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
}


def _view(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    """Return a tensor that is a view of a storage; torch checks its bounds."""
    count = 1
    for side in size:
        count *= side
    if count > storage.numel() + MOST_EXPANDED:
        raise TornError("a tensor claims more values than the file holds")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _typed_view(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], gradient: bool, hooks: object,
    dtype: torch.dtype, *_: object,
) -> Tensor:  # fmt: skip
    return _view(storage.view(dtype), offset, size, stride, gradient, hooks)


def _first(value: Any = None, *_: object) -> Any:
    return value


def _of_type(make: Any, kind: object, args: Sequence[Any], *_: object) -> Any:  # noqa: ARG001
    return make(*args) if isinstance(make, _Maker) else None


class _Maker:
    """A function that a pickle may call but not change; pickles can set the attributes of functions."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise TornError("its pickle is damaged")


MAKERS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Maker(_view),
    "torch._utils._rebuild_tensor_v2": _Maker(_view),
    "torch._utils._rebuild_tensor_v3": _Maker(_typed_view),
    "torch._utils._rebuild_parameter": _Maker(_first),
    "torch._utils._rebuild_parameter_with_state": _Maker(_first),
    "torch._tensor._rebuild_from_type_v2": _Maker(_of_type),
    "torch.nn.parameter.Parameter": _Maker(_first),
    "collections.OrderedDict": OrderedDict,
}


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """Return a dict, or the members of a stand-in; None for other values."""
    if isinstance(value, StandIn):
        return value.members()
    return cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else None
