"""The manifest of a folder of synthesized images: the settings, and a row per image that says how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from tfmlc.errors import UserError
from tfmlc.io.files import append_line, file_sha256, inside, one_name, parse_json, read_utf8, write_atomically

MANIFEST = "manifest.jsonl"
FORMER_KEYS = {"clip": "video", "film": "video"}  # in sets that earlier versions made


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read the manifest of a folder. A line that an interruption cut off is ignored.

    Args:
        folder: The folder.

    Returns:
        The settings and the rows.

    Raises:
        UserError: If there is no manifest, or it was not written by tfmlc.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} has no {MANIFEST}: give a folder that tfmlc synthesize made")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_utf8(path).splitlines(), start=1):
        try:
            row = parse_json(line, path)
        except UserError:
            continue
        try:
            Row.model_validate(row, strict=True)
        except ValidationError as error:
            raise UserError(f"{path}, line {number}, is not a row of a tfmlc manifest: make the set again") from error
        rows.append(_in_present_words(row))
    if not rows or not isinstance(rows[0].get("settings"), dict):
        raise UserError(f"{path} is not a tfmlc manifest: remove it or choose another folder")
    settings: dict[str, Any] = rows[0]["settings"]
    return _in_present_words(settings), rows[1:]


def _in_present_words(values: dict[str, Any]) -> dict[str, Any]:
    return {FORMER_KEYS.get(key, key): value for key, value in values.items()}


Inside = Annotated[str, AfterValidator(lambda name: inside(name))]  # noqa: PLW0108 (pydantic would give a second argument)


class Settings(BaseModel):
    """The part of a set's settings that is checked when a manifest is read."""

    kind: str = ""
    folders: list[Inside] = []


class Row(BaseModel):
    """A line of a manifest, as far as it is checked: settings, an image with its files, or a video."""

    settings: Settings = Settings()
    name: Inside = ""
    pair: str = ""
    video: str = ""
    source: str = ""
    files: dict[Inside, str] = {}
    seed: list[int] = Field(default=[0], min_length=1)
    windows: int = 0
    displacement_px: float | None = None
    strength_px: float = 0.0


def distinct_stems(names: Sequence[Path]) -> list[Path]:
    """Return names without suffix. If several share a stem, all but the first get their suffix as a part of the name.

    Stems that differ in case alone count as shared, because sets are copied to file systems that ignore case.

    >>> [stem.as_posix() for stem in distinct_stems([Path("a.jpg"), Path("a.png"), Path("b/a.png"), Path("a-png.jpg")])]
    ['a', 'a-png', 'b/a', 'a-png-jpg']
    """
    stems: list[Path] = []
    taken: set[str] = set()
    for name in names:
        stem = name.with_suffix("")
        while one_name(stem) in taken:
            stem = stem.with_name(f"{stem.name}-{name.suffix.removeprefix('.')}")
        taken.add(one_name(stem))
        stems.append(stem)
    return stems


def is_whole(folder: Path, row: dict[str, Any]) -> bool:
    """Whether all files of a row exist and have the sha256 that the row says."""
    files = row.get("files")
    return files is not None and all(
        (folder / name).is_file() and file_sha256(folder / name) == sha256 for name, sha256 in files.items()
    )


class Manifest:
    """A manifest to which rows are added as images are finished.

    ``whole`` has the complete rows of earlier runs: those that have ``key``, and whose files exist and are unchanged.

    Args:
        folder: The folder of the set.
        settings: The settings of the set.
        key: The entry that identifies a row.

    Raises:
        UserError: If the folder was made with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], key: Literal["name", "pair"] = "name") -> None:
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
        self.whole = [row for row in rows if key in row and is_whole(folder, row)]
        if not self.path.read_bytes().endswith(b"\n"):  # the next row must not continue a line that was cut off
            append_line(self.path, "")

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows to the file immediately; raises UserError if that is not possible."""
        for row in rows:
            append_line(self.path, json.dumps(row))
