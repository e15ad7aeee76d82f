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
from tfmlc.errors import UserError
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.reproduce.plan import read_share
from tfmlc.training.state import STATE, last_scores, read_state

FOUND = {
    "weights": [3260, 3543],  # the JSON inside a run's state
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


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    check_line(caught.value)
    assert path.stem in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", NO_JSON + OTHER_JSON)
def test_records_of_another_form_are_refused_with_a_way_out(tmp_path: Path, text: str) -> None:
    state, record = tmp_path / STATE, tmp_path / "record.json"
    state.write_bytes(save({"weights.a": torch.ones(2)}, {"run": text}))
    record.write_text(text)
    assert "remove it to start the run again" in refusal(read_state, state)
    assert "remove it, and it is chosen again" in refusal(read_share, record)
    assert "adapt again" in refusal(lambda path: read_learned(path.with_suffix(".safetensors")), record)


def test_a_run_that_was_never_validated_has_no_scores(tmp_path: Path) -> None:
    info = {"step": 1, "schedule": {"scores": []}}
    (tmp_path / STATE).write_bytes(save({"weights.a": torch.ones(2)}, {"run": json.dumps(info)}))
    with pytest.raises(UserError, match="holds no validation"):
        last_scores(tmp_path)


@pytest.mark.parametrize("value", ["2001-99-99", "[" * 5000, "{", "0o" + "7" * 5000 + ": :"])
def test_settings_that_are_no_yaml(value: str) -> None:
    with pytest.raises(UserError, match="is not YAML") as caught:
        override({}, [f"a={value}"])
    check_line(caught.value)
