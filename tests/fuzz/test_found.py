"""What spoiled files once got past the readers: the cases by number, and the fault itself in few bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from readers import KINDS, check_line, try_one
from safetensors.torch import save

from tfmlc.config import override
from tfmlc.data.datasets.triplets import find_triplets
from tfmlc.data.synthesis.manifest import MANIFEST, Manifest
from tfmlc.errors import UserError
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.scores import read_scores
from tfmlc.io.files import read_json
from tfmlc.training.state import STATE, last_scores, read_state

FOUND = {
    "weights": [3260, 3543],  # the JSON inside a run's state
    "image": [5797, 8712, 1224, 1322, 1812, 20320],  # claimed and not there; a type of metadata that is no text
    "values": [24807, 67177],  # half a character, and a NUL, in the name of a dataset
    "video": [118, 292, 358],  # a codec that is not known; texts that are not UTF-8
}
NO_JSON = ["", "{", "[" * 100_000, "9" * 5000]
OTHER_JSON = ["null", "[]", "{}", '{"step": -1}', '{"step": "one"}', '{"step": 1, "recipe": []}', '{"share": "half"}']


@pytest.mark.parametrize("kind", FOUND)
def test_files_that_once_got_past_the_readers(tmp_path: Path, kind: str) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "spoiled").mkdir()
    seeds = KINDS[kind][0](tmp_path / "seeds")
    for number in FOUND[kind]:
        try_one(kind, seeds, number, tmp_path / "spoiled")


def refusal(read: Callable[[Path], Any], path: Path, named: str = "") -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    check_line(caught.value)
    assert (named or path.stem) in str(caught.value)
    return str(caught.value)


def test_half_a_character_is_refused_and_names_of_any_bytes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"name": "\ud800.png"}))
    assert refusal(read_json, path).endswith(r"is damaged: it has half a character, '\ud800'")
    path.write_text(json.dumps("\udcff.png \N{ALIEN MONSTER}"))
    assert read_json(path) == "\udcff.png \N{ALIEN MONSTER}"


@pytest.mark.parametrize("text", NO_JSON + OTHER_JSON)
def test_records_of_another_form_are_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    state, record = tmp_path / STATE, tmp_path / "record.json"
    state.write_bytes(save({"weights.a": torch.ones(2)}, {"run": text}))
    record.write_text(text)
    assert "remove it to start the run again" in refusal(read_state, state)
    assert "adapt again" in refusal(lambda path: read_learned(path.with_suffix(".safetensors")), record)


def test_a_run_that_was_never_validated_has_no_scores(tmp_path: Path) -> None:
    info = {"step": 1, "schedule": {"scores": []}}
    (tmp_path / STATE).write_bytes(save({"weights.a": torch.ones(2)}, {"run": json.dumps(info)}))
    with pytest.raises(UserError, match="contains no validation scores"):
        last_scores(tmp_path)


@pytest.mark.parametrize("value", ["2001-99-99", "[" * 5000, "{", "0o" + "7" * 5000 + ": :"])
def test_settings_that_are_no_yaml(value: str) -> None:
    with pytest.raises(UserError, match="is not YAML") as caught:
        override({}, [f"a={value}"])
    check_line(caught.value)


def test_what_a_file_holds_does_not_break_the_line_of_an_error() -> None:
    check_line(UserError("the mean of a\nb \x1b[31m does not fit"))
    check_line(UserError("a" * 100_000))
    assert str(UserError("a\nb")) == r"a\nb"


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "a" * 300, "a\0b", "\ud800", 7, None])
@pytest.mark.parametrize("place", ["name", "files", "folders"])
def test_names_in_a_manifest_that_no_file_can_have(tmp_path: Path, name: object, place: str) -> None:
    settings, row = {"kind": "triplets", "folders": ["a", "b", "c"]}, {"name": "a.png", "video": "a", "files": {}}
    if place == "name":
        row["name"] = name
    elif place == "folders":
        settings["folders"] = ["a", "b", name]
    elif isinstance(name, str):
        row["files"] = {name: ""}
    else:
        row["files"] = name
    (tmp_path / MANIFEST).write_text(json.dumps({"settings": settings}) + "\n" + json.dumps(row))
    assert "is not a row of a tfmlc manifest" in refusal(find_triplets, tmp_path, MANIFEST)


def test_rows_that_do_not_say_of_what_they_are_are_made_again(tmp_path: Path) -> None:
    rows = [{"settings": {}}, {"name": "a.png"}, {"pair": "a.png", "files": {}}, {"name": "b.png", "files": {}}]
    (tmp_path / MANIFEST).write_text("\n".join(map(json.dumps, rows)))
    assert [row["name"] for row in Manifest(tmp_path, {}).whole] == ["b.png"]
    assert [row["pair"] for row in Manifest(tmp_path, {}, "pair").whole] == ["a.png"]


@pytest.mark.parametrize("values", [{"psnr": "25"}, {"psnr": True}, {"psnr": [25.0]}])
def test_scores_that_are_no_numbers(tmp_path: Path, values: dict[str, object]) -> None:
    scores = {"format": 1, "model": "m", "dataset": "d", "mean": values, "per_image": {"a": values}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert "is not a scores file of tfmlc evaluate (mean.psnr" in refusal(read_scores, tmp_path / "scores.json")
