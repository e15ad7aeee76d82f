"""The finished pieces of a video in a hidden folder next to the result, so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tfmlc.deblur.sharpness import sharpness
from tfmlc.deblur.temporal import RestoredFrame
from tfmlc.errors import UserError
from tfmlc.io.files import TEMPORARY, file_sha256, flush, read_json, real_path, write_atomically
from tfmlc.io.locks import folder_lock
from tfmlc.io.video.muxing import Piece
from tfmlc.results import version_of
from tfmlc.typed import is_record

PLAN, TILE = "plan.json", "tile_px"
FRAMES = 60  # of a piece: what a stop loses at most
Encode = Callable[[Path, Iterable[RestoredFrame]], None]


@dataclass
class Tally:
    """What is known about some restored frames: their number, sums of their sharpness, how many were kept and why."""

    frames: int = 0
    before: float = 0.0
    after: float = 0.0
    kept: int = 0
    why: str = ""

    def __add__(self, other: Tally) -> Tally:
        sums = (self.frames + other.frames, self.before + other.before, self.after + other.after)
        return Tally(*sums, self.kept + other.kept, self.why or other.why)


@dataclass
class Record(Tally):
    """The record of one piece: also the time and duration of each frame, and the SHA-256 of the piece.

    A piece is complete if its file and that of its record are there and agree. After a power cut they may not.
    """

    times: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    sha256: str = ""


class Pieces:
    """The pieces of one result.

    Args:
        target: The result.
        plan: Everything that the pieces depend on. Pieces of another plan or version of tfmlc are removed.
        choose_tile: Chooses the side of tiles. A stopped run goes on with its own, because the free memory changes.
    """

    def __init__(self, target: Path, plan: dict[str, Any], choose_tile: Callable[[], int]) -> None:
        self.folder = folder_of(target)
        file = self.folder / PLAN
        found = self._read(file) if file.exists() else None
        plan = {**plan, "version": version_of("tfmlc")}  # another one can restore otherwise
        if not is_record(found) or {**plan, TILE: found.get(TILE)} != found:
            self.remove()
            found = {**plan, TILE: choose_tile()}
            write_atomically(file, json.dumps(found).encode())
        self.tile_px: int = found[TILE]
        self.tally, self.done = Tally(), 0
        for number in count():
            record = self.record(number)
            if record is None:
                break
            self._add(record)

    def add(self, frames: Iterator[RestoredFrame], encode: Encode) -> int:
        """Encode the next piece; return how many frames it has."""
        record = Record()

        def recorded() -> Iterator[RestoredFrame]:
            for frame in frames:
                record.frames += 1
                record.before += sharpness(frame.blurry)
                record.after += sharpness(frame.pixels)
                record.kept += bool(frame.kept)
                record.why = record.why or frame.kept
                record.times.append((frame.pts, frame.duration))
                yield frame

        piece = self._file(self.done, ".mkv")
        encode(piece, recorded())
        flush(piece)
        record.sha256 = file_sha256(piece)
        write_atomically(self._file(self.done, ".json"), json.dumps(asdict(record)).encode())
        self._add(record)
        return record.frames

    def record(self, number: int) -> Record | None:
        """Return the record of a piece; None if the piece is not complete."""
        piece, file = self._file(number, ".mkv"), self._file(number, ".json")
        found = self._read(file) if file.exists() and piece.exists() else None
        if not is_record(found) or found.keys() != Record.__dataclass_fields__.keys():
            return None
        with suppress(ValidationError):
            record = TypeAdapter(Record).validate_python(found)
            if record.frames == len(record.times) and record.sha256 == file_sha256(piece):
                return record
        return None

    def __iter__(self) -> Iterator[Piece]:
        for number in range(self.done):
            record = self.record(number)
            if record is None:
                raise UserError(f"a piece of the video in {self.folder} was lost during the run: run it again")
            yield Piece(self._file(number, ".mkv"), record.times)

    def remove(self) -> None:
        """Remove the pieces, but not the lock of the folder."""
        _empty(self.folder)

    def _add(self, record: Record) -> None:
        self.tally += record
        self.done += 1

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}{suffix}"

    def _read(self, file: Path) -> Any:
        try:
            return read_json(file)
        except UserError:  # damaged: it is made again
            return None


def remove_pieces(target: Path) -> None:
    """Remove the folder for the pieces of a result that is complete; a run was killed before it did."""
    folder = folder_of(target)
    if folder.exists():
        with suppress(UserError, OSError):  # another run is working there
            with folder_lock(folder):
                _empty(folder)
            folder.rmdir()


def _empty(folder: Path) -> None:
    for old in (*folder.glob("[0-9]*"), folder / PLAN):
        old.unlink(missing_ok=True)


def folder_of(target: Path) -> Path:
    """Return the hidden folder for the pieces of a result; a hash keeps its name short."""
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return real_path(target.parent) / f"{TEMPORARY}video-{digest[:16]}"
