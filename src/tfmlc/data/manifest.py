"""The manifest of a folder of made pictures: settings, and a row for each that says how it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from tfmlc.errors import UserError
from tfmlc.files import write_atomically

MANIFEST = "manifest.jsonl"


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and rows of a folder's manifest; a line that was cut off by an interruption is left out."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} holds no {MANIFEST}: it was not made by tfmlc synthesize")
    rows: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(cast("dict[str, Any]", json.loads(line)))
        except json.JSONDecodeError:
            continue
    if not rows or "settings" not in rows[0]:
        raise UserError(f"{path} is not a manifest of tfmlc: remove it or choose another folder")
    return rows[0]["settings"], rows[1:]


def distinct_stems(names: Sequence[Path]) -> list[Path]:
    """Names without suffix; of those that share a stem, all but the first keep their suffix as a part of the name.

    >>> [stem.as_posix() for stem in distinct_stems([Path("a.jpg"), Path("a.png"), Path("b/a.png"), Path("a-png.jpg")])]
    ['a', 'a-png', 'b/a', 'a-png-jpg']
    """
    stems: list[Path] = []
    taken: set[Path] = set()
    for name in names:
        stem = name.with_suffix("")
        while stem in taken:
            stem = stem.with_name(f"{stem.name}-{name.suffix.removeprefix('.')}")
        taken.add(stem)
        stems.append(stem)
    return stems


def file_sha256(path: Path) -> str:
    """Fingerprint of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(folder: Path, row: dict[str, Any]) -> bool:
    """Whether all files of a row, ``files`` by name with their sha256, are there and unchanged."""
    return all(
        (folder / name).is_file() and file_sha256(folder / name) == sha256 for name, sha256 in row["files"].items()
    )


class Manifest:
    """A manifest that grows by rows as they are finished; a context manager.

    Raises UserError for a folder that was made with other settings. ``whole`` are the rows of earlier runs whose
    files are all still there.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / MANIFEST
        self.whole: list[dict[str, Any]] = []
        settings = json.loads(json.dumps(settings))
        if not self.path.exists():
            write_atomically(self.path, (json.dumps({"settings": settings}) + "\n").encode())
            return
        earlier, rows = read_manifest(folder)
        if earlier != settings:
            changed = ", ".join(sorted(key for key in {**settings, **earlier} if settings.get(key) != earlier.get(key)))
            raise UserError(f"{folder} was made with other settings ({changed}): choose another folder")
        self.whole = [row for row in rows if is_whole(folder, row)]

    def __enter__(self) -> Manifest:
        content = self.path.read_bytes()
        self._file = self.path.open("a", encoding="utf-8")
        if not content.endswith(b"\n"):  # a row that an interruption cut off must not swallow the next one
            self._file.write("\n")
        return self

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows down at once."""
        for row in rows:
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
