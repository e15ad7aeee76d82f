"""Error messages for files that are not weights files: they say what the file is."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tfmlc.io.images.formats import kind_of_bytes

HEAD_BYTES = 4096
AGAIN = "download it again and compare the size"
LFS = b"version https://git-lfs.github.com/spec/"
PYTORCH = "give PyTorch weights, a .safetensors or .pth file"
# Formats that are mistaken for weights: position, first bytes, what it is, what to do.
BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, LFS, "a Git LFS pointer, not the weights", "run git lfs pull"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, MATLAB)", PYTORCH),
    (0, b"\x93NUMPY", "a NumPy array", PYTORCH),
    (0, b"MATLAB 5.0", "a MATLAB file", PYTORCH),
    (0, b"GGUF", "a GGUF model", PYTORCH),
    (4, b"TFL3", "a TensorFlow Lite model", PYTORCH),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz archive", "unpack it first"),
    (0, b"BZh", "a bzip2 archive", "unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"),
)
WEB_PAGES = ("an HTML page", "an XML file")
PAGE = "the link returned a page (a login, a warning or an error): download the file itself"


def describe_zip(path: Path) -> str:
    """Describe a zip archive that is not a checkpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return f"{path} is cut short: the end of its zip archive is missing; {AGAIN}"
    if names and all(name.endswith(".npy") for name in names):
        return f"{path} is an archive of NumPy arrays, not weights: save them as .safetensors or with torch.save"
    held = ", ".join(names[:3]) or "nothing"
    return f"{path} is a zip archive but not a checkpoint: it holds {held}; unpack it and give the weights file"


def describe(path: Path, head: bytes, size: int) -> str:
    """Describe a file that is neither safetensors nor written by torch, from its first bytes and its size.

    >>> describe(Path("a.pth"), b"", 0)
    'a.pth is empty: the download or the copy failed; download it again'
    >>> describe(Path("a.pth"), b"<!DOCTYPE html>", 15).split(":")[0]
    'a.pth is a web page, not the weights'
    """
    if not size:
        return f"{path} is empty: the download or the copy failed; download it again"
    if not head.strip(b"\0"):
        return f"{path} holds only zeros: the download or the copy failed; download it again"
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
        return f"{path} is an ONNX model: {PYTORCH}"
    text = _text(head)
    if text is not None:
        kind_of_text = "a JSON file" if text.startswith(("{", "[")) else f"a text file that begins {text[:30]!r}"
        return f"{path} is {kind_of_text}, not weights: give a .safetensors or .pth file"
    begins = head[:8].hex(" ")
    return f"{path} is not a weights file: it is neither safetensors nor written by torch.save (first bytes: {begins})"


def _text(head: bytes) -> str | None:
    """Return the first line of a text; None if the bytes are not text."""
    try:
        text = head[:200].decode("utf-8", errors="strict" if len(head) <= 200 else "ignore")
    except UnicodeDecodeError:
        return None
    readable = all(letter.isprintable() or letter.isspace() for letter in text)
    return text.strip().splitlines()[0].strip() if readable and text.strip() else None
