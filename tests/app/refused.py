"""Files that the page refuses."""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from pathlib import Path


def huge_png(path: Path) -> Path:
    """A PNG of 300 megapixels with one bit each, in 40 kB."""
    width, height = 20_000, 15_000
    rows = zlib.compress(bytes((width // 8 + 1) * height), 1)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def bad_files(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "program.jpg").write_bytes(Path(sys.executable).resolve().read_bytes()[:5000])
    with zipfile.ZipFile(folder / "archive.jpg", "w") as archive:
        archive.writestr("a.txt", "no photo")
    return [*(folder / f"{name}.jpg" for name in ("empty", "program", "archive")), huge_png(folder / "huge.png")]
