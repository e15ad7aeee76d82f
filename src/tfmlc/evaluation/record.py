"""The scores of one model on one dataset, image by image; an interrupted run is continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import BaseModel, ValidationError

from tfmlc.data.datasets.pairs import Pair
from tfmlc.errors import UserError
from tfmlc.evaluation.identity import DataSet, dataset_sha256, pair_sha256
from tfmlc.evaluation.sources import Source
from tfmlc.io.files import append_line, file_sha256, parse_json, write_atomically
from tfmlc.metrics.fidelity import psnr_of
from tfmlc.metrics.protocols import PROTOCOLS
from tfmlc.results import provenance
from tfmlc.typed import is_record

FORMAT = 1  # version of the files; increases when their meaning changes
Tell = Callable[[str], None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Scoring:
    """What to compute for each image.

    Attributes:
        metrics: Names of metrics.
        protocols: Names of protocols.
        missing: Metrics that are not available, with the reason.
        save: Whether to keep the restored images.
    """

    metrics: Sequence[str]
    protocols: Sequence[str]
    missing: Mapping[str, str]
    save: bool = False


@dataclass(frozen=True)
class Place:
    """Where the files of a record are.

    Attributes:
        output: The scores file.
        section: The dataset's label if the scores file holds several datasets.
    """

    output: Path
    section: str | None = None

    @property
    def partial(self) -> Path:
        """The file of the images that are scored so far."""
        middle = "" if self.section is None else f".{quote(self.section, safe='')}"  # two labels never share a name
        return self.output.with_name(f"{self.output.name}{middle}.partial")

    @property
    def images(self) -> Path:
        """The folder of the restored images."""
        return images_of(self.output, self.section)

    def image_of(self, name: str) -> Path:
        """Return the file in which the restored image of a pair is kept."""
        return self.images / Path(name).with_suffix(".png")


def images_of(output: Path, section: str | None = None) -> Path:
    """Return the folder of the restored images of a scores file."""
    folder = output.with_suffix(".images")
    return folder if section is None else folder / quote(section, safe="")  # two labels never share a folder


def saved_images(output: Path, section: str | None = None) -> Path | None:
    """Return the folder of the restored images of a scores file if there is one, also of an earlier version."""
    folder = images_of(output, section)
    earlier = folder if section is None else folder.with_name(section.replace("/", "-"))
    return next((place for place in (folder, earlier) if place.is_dir()), None)


class Record:
    """The scores of one model on one dataset.

    ``place.partial`` has a head, which identifies the run, and one line per image. A row of an earlier run is used if
    the head is the same and the files of the pair, and of the restored image if there is one, have not changed. Raises
    UserError if the rows are of another model, dataset, protocol, precision, metric or version.
    """

    def __init__(self, source: Source, place: Place, dataset: DataSet, scoring: Scoring, tell: Tell) -> None:
        self.source, self.place, self.dataset, self.scoring = source, place, dataset, scoring
        self.rows: dict[str, dict[str, Any]] = {}
        self.info = {**source.info, "dataset": dataset.label, "protocols": list(scoring.protocols)}
        head = {
            "model": [source.info.get("sha256"), source.info.get("local_statistics"), bool(source.files)],
            "precision": source.info.get("precision"),
            "tile_px": source.info.get("tile_px"),
            "device": source.device.partition(":")[0],
            "protocols": list(scoring.protocols),
            "metrics": list(scoring.metrics),
            "packages": provenance(source.device)["packages"],
            "format": FORMAT,
        }
        head = json.loads(json.dumps(head))
        if place.partial.exists():
            self._take_up(head, tell)
        lines = [json.dumps(head), *(json.dumps(row) for row in self.rows.values()), ""]
        write_atomically(place.partial, "\n".join(lines).encode())

    def _take_up(self, head: Mapping[str, Any], tell: Tell) -> None:
        lines = self.place.partial.read_text(encoding="utf-8", errors="replace").splitlines()
        earlier: Any = _parsed(lines[0] if lines else "")
        found = earlier if is_record(earlier) else {}
        if changed := [key for key in head if found.get(key) != head[key]]:
            raise UserError(f"{self.place.partial} is of another run ({', '.join(changed)}): {WHAT_NOW}")
        rows = {row["image"]: row for row in map(_parsed, lines[1:]) if _is_row(row)}
        pairs = {pair.name: pair for pair in self.dataset.pairs}
        if strange := [name for name in rows if name not in pairs]:
            raise UserError(f"{self.place.partial} is of another dataset (with {strange[0]}): {WHAT_NOW}")
        current = {name: row for name, row in rows.items() if self._is_current(row, pairs[name])}
        if rows and not current:
            raise UserError(f"{self.place.partial} is of other images under the same names: {WHAT_NOW}")
        if len(current) < len(rows):
            count = len(rows) - len(current)
            tell(f"{self.place.partial}: {count} of {len(rows)} images have changed and are scored again")
        self.rows = {name: row for name, row in current.items() if not self.scoring.save or self._has_image(row)}

    def _is_current(self, row: Mapping[str, Any], pair: Pair) -> bool:
        """Whether a row was computed from the pair, and from the restored file if there is one, as they are now."""
        restored = self.source.files.get(pair.name)
        finished = None if restored is None else file_sha256(restored)
        return row.get("pair") == pair_sha256(pair) and row.get("restored") == finished

    def _has_image(self, row: Mapping[str, Any]) -> bool:
        kept = self.place.image_of(row["image"])
        return kept.is_file() and row.get("image_sha256") == file_sha256(kept)

    def keep(self, row: Row) -> None:
        """Take up a row, and append it to the partial file."""
        self.rows[row["image"]] = row
        append_line(self.place.partial, json.dumps(row))

    def result(self, **more: Any) -> dict[str, Any]:
        """Return the content of the scores file; the means leave out values that are not finite, and count them."""
        rows = {pair.name: self.rows[pair.name] for pair in self.dataset.pairs}
        seconds = [row["seconds"] for row in rows.values()]
        scores = {name: row["scores"] for name, row in rows.items()}
        columns = {key: [row[key] for row in scores.values()] for key in next(iter(scores.values()))}
        mean: dict[str, float | None] = {}
        for key, values in columns.items():
            finite = [value for value in values if value is not None]
            mean[key] = float(np.mean(finite)) if finite else None
        for protocol in self.scoring.protocols:
            error = mean.pop(f"{protocol}/mse", None)
            if PROTOCOLS[protocol].pooled and error:
                mean[f"{protocol}/psnr"] = psnr_of(error)
        return {
            "format": FORMAT,
            **self.info,
            "dataset_sha256": dataset_sha256({name: row["pair"] for name, row in rows.items()}),
            "images": len(rows),
            "mean": mean,
            **more,
            "not_finite": {key: values.count(None) for key, values in columns.items() if None in values},
            "unavailable": dict(self.scoring.missing),
            "swapped": [name for name, row in rows.items() if row["swapped"]],
            "images_saved": self.scoring.save,
            "seconds_per_image": round(float(np.mean(seconds)), 3),
            "provenance": provenance(self.source.device),
            "per_image": {name: {**row["scores"], "seconds": row["seconds"]} for name, row in rows.items()},
        }


WHAT_NOW = "remove it, or choose another -o"


class WholeRow(BaseModel):
    """What each row of a partial file must have."""

    image: str
    pair: str
    swapped: bool
    seconds: float
    scores: dict[str, float | None]


def _is_row(content: object) -> bool:
    """Whether the content of a line is a whole row."""
    try:
        WholeRow.model_validate(content, strict=True)
    except ValidationError:
        return False
    return True


def _parsed(line: str) -> Any:
    """Parse a line; None if an interruption cut it off."""
    try:
        return parse_json(line, "a row")
    except UserError:
        return None
