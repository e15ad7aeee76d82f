"""What ``torch.save`` and ``torch.jit.save`` wrote, read without running anything of it.

``torch.load(weights_only=True)`` refuses checkpoints that hold as little as a NumPy number or an ``argparse.Namespace``
beside their tensors, and ``torch.jit.load`` runs code of the archive. Here every name in a pickle but those that make
tensors is replaced by an inert stand-in, and the checksums of an archive are checked.
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

MAGIC = 0x1950A86A20F9469CFC6C  # the number that older versions of torch.save begin with
HARMLESS_CALLS = (  # of data beside the weights: what they would make is left out
    *("numpy.", "pathlib.", "datetime.", "collections.", "argparse.", "uuid.", "decimal.", "fractions.", "omegaconf."),
    *("torch._utils.", "torch._tensor.", "torch.device", "torch.Size", "torch.serialization._get_layout"),
    *("builtins.set", "builtins.frozenset", "builtins.complex", "builtins.bytearray", "builtins.slice"),
    *("builtins.range", "builtins.list", "builtins.dict", "builtins.tuple", "_codecs.encode"),
)
OBJECT_MAKERS = ("copy_reg._reconstructor", "copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__")
MOST_EXPANDED = 1 << 24  # values that a tensor may have beyond those that are stored for it


class CodeError(Exception):
    """A pickle calls a function that is neither of a tensor nor of common data; its text is the function's name."""


class TornError(Exception):
    """A file that is not whole, or whose content does not fit itself; its text says what is wrong."""


class StandIn:
    """Stands for an object of a class that is not loaded; keeps what the class would have been given."""

    name = ""

    def __new__(cls, *_: object, **__: object) -> StandIn:
        """Take any arguments, and do nothing with them."""
        made = super().__new__(cls)
        made.state = {}
        return made

    state: dict[Any, Any]

    def __setstate__(self, state: object) -> None:
        parts = cast("tuple[object, ...]", state) if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.state.update(cast("dict[Any, Any]", part))

    def __setitem__(self, key: Any, value: object) -> None:
        self.state[key] = value

    def append(self, value: object) -> None:
        """Take an item of a list, and leave it out."""

    def extend(self, values: object) -> None:
        """Take items of a list, and leave them out."""

    def add(self, value: object) -> None:
        """Take an item of a set, and leave it out."""

    def members(self) -> dict[Any, Any]:
        """What the object holds by name: a module's parameters, buffers and modules, else its state."""
        if isinstance(self.state.get("_parameters"), dict):
            return {
                k: v for part in ("_parameters", "_buffers", "_modules") for k, v in self.state.get(part, {}).items()
            }
        return self.state


class _Name(type):
    """The class of stand-ins' classes: a pickle that calls one like a function runs nothing."""

    name: str

    def __call__(cls, *args: object) -> object:
        made = args[0] if cls.name in OBJECT_MAKERS and args else cls
        if made is cls and not cls.name.startswith(HARMLESS_CALLS):
            raise CodeError(cls.name)
        return StandIn.__new__(cast("type[StandIn]", made)) if isinstance(made, _Name) else None


def _stand_in(name: str) -> type:
    return _Name("StandIn", (StandIn,), {"name": name.replace("__builtin__.", "builtins.")})  # as protocol 2 calls them


def read_archive(archive: zipfile.ZipFile) -> object:
    """Content of an archive that ``torch.save`` or ``torch.jit.save`` wrote; raises KeyError where it is none."""
    entries = {info.filename: info for info in archive.infolist()}
    root = next(name.removesuffix("data.pkl") for name in entries if name == "data.pkl" or name.endswith("/data.pkl"))
    if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") == b"big":
        raise TornError("it was written on a machine of the other byte order: save it again on this one")
    stored: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:  # noqa: ARG001 - the archive knows its size
        if key not in stored:
            info = entries[f"{root}data/{key}"]
            if info.file_size > 64 * (info.compress_size + 64):
                raise TornError("it is compressed as no weights are")
            content = torch.empty(info.file_size, dtype=torch.uint8)
            with archive.open(info) as file:
                cast(Any, file).readinto(_bytes_of(content))
                file.read()  # at the end the checksum is looked at
            stored[key] = content
        return stored[key]

    return _Unpickler(archive.read(f"{root}data.pkl"), storage).load()


def read_legacy(file: BinaryIO) -> object:
    """Content of a file that ``torch.save`` wrote before PyTorch 1.6 or in that way."""
    whole = file.read()
    stream = io.BytesIO(whole)
    if _Unpickler(_next_pickle(stream), _no_storage).load() != MAGIC:
        raise TornError("it is a Python pickle that torch.save did not write: save the state dict with torch.save")
    for _ in ("protocol", "machine"):
        _next_pickle(stream)
    stored: dict[str, Tensor] = {}
    widths: dict[str, int] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in stored:
            if not 0 <= count * dtype.itemsize <= len(whole):
                raise TornError("it is cut short: get it again")
            stored[key] = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
            widths[key] = dtype.itemsize
        return stored[key]

    content = _Unpickler(_next_pickle(stream), storage).load()
    for key in cast("list[str]", _Unpickler(_next_pickle(stream), _no_storage).load()):
        size = int.from_bytes(stream.read(8), "little") * widths[str(key)]
        if size != stored[str(key)].numel() or stream.readinto(_bytes_of(stored[str(key)])) != size:
            raise TornError("it is cut short: get it again")
        stored.pop(str(key))
    return content


def _bytes_of(storage: Tensor) -> memoryview:
    return memoryview(cast(Any, storage.numpy()))


def _next_pickle(stream: io.BytesIO) -> bytes:
    """The bytes of the pickle that a stream stands at."""
    start = stream.tell()
    for _ in pickletools.genops(stream):
        pass
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


def _no_storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
    raise TornError(f"it stores {count} values of {dtype} under {key} where none belong")


class _Unpickler(pickle.Unpickler):
    """Reads tensors, containers, numbers and text; everything else becomes a stand-in."""

    def __init__(self, content: bytes, storage: Callable[[str, torch.dtype, int], Tensor]) -> None:
        for code, argument, _ in pickletools.genops(content):
            if "PUT" in code.name and isinstance(argument, int) and argument > len(content):
                raise TornError("its pickle is damaged")  # and would take the memory of a list of that length
        super().__init__(io.BytesIO(content))
        self._storage = storage
        self._makers: dict[str, Any] = {
            "torch._utils._rebuild_tensor": _view,
            "torch._utils._rebuild_tensor_v2": _view,
            "torch._utils._rebuild_tensor_v3": _typed_view,
            "torch._utils._rebuild_parameter": _first,
            "torch._utils._rebuild_parameter_with_state": _first,
            "torch._tensor._rebuild_from_type_v2": _of_type,
            "torch.nn.parameter.Parameter": _first,
            "collections.OrderedDict": OrderedDict,
        }

    def find_class(self, module: str, name: str, /) -> Any:
        full = f"{module}.{name}"
        if full in self._makers:
            return self._makers[full]
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return STORAGES.get(name.removesuffix("Storage"), full)
        dtype = getattr(torch, name, None) if module == "torch" else None
        return dtype if isinstance(dtype, torch.dtype) else _stand_in(full)

    def persistent_load(self, pid: Any, /) -> Any:
        if pid[0] != "storage":
            return pid[1]
        dtype = pid[1]
        if not isinstance(dtype, torch.dtype):
            raise TornError(f"its tensors are of a kind that is not read here ({dtype}): save them as floats")
        content = self._storage(str(pid[2]), dtype, int(pid[4])).view(dtype)
        if len(pid) > 5 and pid[5] is not None:  # a part of another storage, in older files
            _, start, count = pid[5]
            return content[start : start + count]
        return content


STORAGES: dict[str, torch.dtype] = {
    **{"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "Untyped": torch.uint8, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
}


def _view(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    """A tensor on a storage; torch checks that it lies inside."""
    count = 1
    for side in size:
        count *= side
    if count > storage.numel() + MOST_EXPANDED:
        raise TornError("it claims more values than it holds")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _typed_view(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], gradient: bool, hooks: object,
    dtype: torch.dtype, *_: object,
) -> Tensor:  # fmt: skip
    return _view(storage.view(dtype), offset, size, stride, gradient, hooks)


def _first(value: Any = None, *_: object) -> Any:
    return value


def _of_type(make: Any, kind: object, args: Sequence[Any], *_: object) -> Any:  # noqa: ARG001
    return make(*args) if make in (_view, _typed_view, _first) else None


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """A dict, or what a stand-in holds by name, or None."""
    if isinstance(value, StandIn):
        return value.members()
    return cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else None
