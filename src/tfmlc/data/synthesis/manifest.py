"""The manifest of a folder of made images: settings, and a row for each that says how it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, cast

from tfmlc.errors import UserError
from tfmlc.io.files import parse_json, read_utf8, write_atomically

MANIFEST = "manifest.jsonl"


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Settings and rows of a folder's manifest; a line that was cut off by an interruption is left out."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} holds no {MANIFEST}: it was not made by tfmlc synthesize")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_utf8(path).splitlines(), start=1):
        try:
            row = parse_json(line, path)
        except UserError:
            continue
        if not _is_row(row):
            raise UserError(f"{path}, line {number} is not of a manifest of tfmlc: make the set again")
        rows.append(row)
    if not rows or not isinstance(rows[0].get("settings"), dict):
        raise UserError(f"{path} is not a manifest of tfmlc: remove it or choose another folder")
    return rows[0]["settings"], rows[1:]


def _is_row(row: object) -> bool:
    """Whether a row has the form of one, and names no files outside its folder."""
    if not isinstance(row, dict):
        return False
    found = cast("dict[str, object]", row)
    files, strings = found.get("files", {}), [found.get(key, "") for key in ("name", "video", "pair", "photo")]
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in strings):
        return False
    names = [*cast("dict[str, object]", files), found.get("name", "")]
    return all(isinstance(name, str) and _is_inside(name) for name in names)


def _is_inside(name: str) -> bool:
    """Whether a relative path stays in its folder.

    >>> _is_inside("sharp/a.png"), _is_inside("../a.png"), _is_inside("/a.png")
    (True, False, False)
    """
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


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
