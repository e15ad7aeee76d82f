"""What a file is that holds no weights, in one sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tfmlc.io.images.formats import kind_of_bytes

HEAD_BYTES = 4096
AGAIN = "get it again, and compare its size with its source's"
LFS = b"version https://git-lfs.github.com/spec/"
# What files begin with that people take for weights: at which byte, the bytes, what they are, what to do.
BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, LFS, "a Git LFS pointer, not the weights", "fetch them: git lfs pull"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, MATLAB)", "weights of PyTorch are read here"),
    (0, b"\x93NUMPY", "a NumPy array", "weights are named tensors: a .safetensors or .pth file"),
    (0, b"MATLAB 5.0", "a MATLAB file", "weights of PyTorch are read here"),
    (0, b"GGUF", "a GGUF model", "weights of PyTorch are read here"),
    (4, b"TFL3", "a TensorFlow Lite model", "weights of PyTorch are read here"),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz archive", "unpack it first"),
    (0, b"BZh", "a bzip2 archive", "unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"),
)
WEB_PAGES = ("an HTML page", "an XML file")
PAGE = "the link gave a page (a log-in, a warning, an error) instead of the file: download the file itself"


def describe_zip(path: Path) -> str:
    """What a zip archive is that no checkpoint is; a torn one, one of arrays, one to unpack."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"{path} is cut short: the end of its zip archive is missing; {AGAIN}"
    if names and all(name.endswith(".npy") for name in names):
        return f"{path} is an archive of NumPy arrays, not weights: save them as .safetensors or with torch.save"
    held = ", ".join(names[:3]) or "nothing"
    return (
        f"{path} is a zip archive, but no checkpoint: it holds {held}; unpack it first, or get the weights themselves"
    )


def describe(path: Path, head: bytes, size: int) -> str:
    """One sentence on a file that is neither safetensors nor written by torch, from its beginning and its size.

    >>> describe(Path("a.pth"), b"", 0)
    'a.pth is empty: the download or the copy failed; get it again'
    >>> describe(Path("a.pth"), b"<!DOCTYPE html>", 15).split(":")[0]
    'a.pth is a web page, not the weights'
    """
    if not size:
        return f"{path} is empty: the download or the copy failed; get it again"
    if not head.strip(b"\0"):
        return f"{path} holds nothing but zeros: the download or the copy failed; get it again"
    for start, beginning, name, remedy in BEGINNINGS:
        if head.startswith(beginning, start):
            return f"{path} is {name}: {remedy}"
    kind = kind_of_bytes(head)
    if kind is not None:
        if kind.name in WEB_PAGES:
            return f"{path} is a web page, not the weights: {PAGE}"
        remedy = "unpack it first" if "archive" in kind.name else "give a .safetensors or .pth file"
        return f"{path} is {kind.name}, not weights: {remedy}"
    if path.suffix.lower() == ".onnx":
        return f"{path} is an ONNX model: weights of PyTorch are read here"
    text = _text(head)
    if text is not None:
        kind_of_text = "a JSON file" if text.startswith(("{", "[")) else f"a text file that begins {text[:30]!r}"
        return f"{path} is {kind_of_text}, not weights: give a .safetensors or .pth file"
    return f"{path} is not a weights file: neither safetensors nor written by torch.save; it begins {head[:8].hex(' ')}"


def _text(head: bytes) -> str | None:
    """The first line of a text, or None for other bytes."""
    try:
        text = head[:200].decode("utf-8", errors="strict" if len(head) <= 200 else "ignore")
    except UnicodeDecodeError:
        return None
    readable = all(letter.isprintable() or letter.isspace() for letter in text)
    return text.strip().splitlines()[0].strip() if readable and text.strip() else None
