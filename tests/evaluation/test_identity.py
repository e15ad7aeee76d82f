"""Scores cannot be mixed: rows, outputs and tables are matched by content, not by names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from conftest import make_photo
from tfmlc.cli import app
from tfmlc.errors import UserError
from tfmlc.evaluation import scoring as scoring_module
from tfmlc.evaluation.evaluate import evaluate, is_scored
from tfmlc.evaluation.record import Place
from tfmlc.evaluation.report import write_report
from tfmlc.evaluation.scores import read_scores
from tfmlc.evaluation.sources import RestoreSettings
from tfmlc.io.images import Image, read_rgb8, write_image
from tfmlc.metrics.fidelity import psnr
from tfmlc.metrics.registry import METRICS
from tfmlc.networks import build_network, save_network


def make_pairs(folder: Path, offset: int, count: int = 4, suffix: str = ".bmp") -> Path:
    for number in range(count):
        photo = make_photo(40 + number, 50)
        write_image(folder / "sharp" / f"{number}{suffix}", Image(photo))
        write_image(folder / "blur" / f"{number}{suffix}", Image(photo // 2 + offset))  # a BMP's size tells nothing
    return folder


def make_model(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    network = build_network("hinet", width=8, depth=2)
    torch.nn.init.constant_(network.last.bias, seed / 100)
    save_network(path, network, origin="test", licence="Apache-2.0")
    return str(path)


def interrupt(
    monkeypatch: pytest.MonkeyPatch, model: str, dataset: Path, output: Path, after: int, **how: object
) -> int:
    """Score ``after`` images, then stop; returns how many were scored."""
    done: list[int] = []

    def stop(restored: np.ndarray, sharp: np.ndarray, names: list[str], _: object) -> dict[str, float]:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(1)
        return {name: METRICS[name].compute(restored, sharp) for name in names}

    with monkeypatch.context() as patch:
        patch.setattr(scoring_module, "score_images", stop)
        with pytest.raises(KeyboardInterrupt):
            evaluate({model: output}, dataset, **how)  # type: ignore[arg-type]
    return len(done)


def test_rows_of_another_dataset_of_the_same_names_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make_pairs(tmp_path / "A" / "test", 10), make_pairs(tmp_path / "B" / "test", 90)
    interrupt(monkeypatch, "blurry", one, tmp_path / "s.json", 2)
    before = (tmp_path / "s.json.partial").read_text()
    with pytest.raises(UserError, match=r"s\.json\.partial is of other images under the same names"):
        evaluate({"blurry": tmp_path / "s.json"}, other)
    assert (tmp_path / "s.json.partial").read_text() == before
    more = make_pairs(tmp_path / "C" / "test", 10, count=1)
    with pytest.raises(UserError, match=r"is of another dataset \(with 1\.bmp\)"):
        evaluate({"blurry": tmp_path / "s.json"}, more)


def test_an_image_that_was_mended_is_scored_again_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    output = tmp_path / "s.json"
    interrupt(monkeypatch, "blurry", dataset, output, 3)
    write_image(dataset / "blur" / "1.bmp", Image(make_photo(41, 50) // 3))
    dataset.rename(tmp_path / "moved")
    scored = interrupt(monkeypatch, "blurry", tmp_path / "moved", output, 1)  # of the two that are left
    assert scored == 1
    assert "1 of 3 images have changed" in capsys.readouterr().err
    found = evaluate({"blurry": output}, tmp_path / "moved")["blurry"]
    fresh = evaluate({"blurry": tmp_path / "fresh.json"}, tmp_path / "moved")["blurry"]
    assert found["mean"] == fresh["mean"]
    assert found["dataset_sha256"] == fresh["dataset_sha256"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrics": ["ssim_2d"]}, "metrics"),
        ({"protocols": ["gopro-basicsr"]}, "protocols"),
        ({"restoring": RestoreSettings(precision="bf16")}, "precision"),
        ({"restoring": RestoreSettings(precision="fp32", tile_px=32)}, "tile_px"),
    ],
)
def test_rows_of_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object], said: str
) -> None:
    dataset, model = make_pairs(tmp_path / "set", 10), make_model(tmp_path / "m.safetensors", 1)
    settings = {"metrics": ["psnr"], "protocols": [], "restoring": RestoreSettings(precision="fp32")}
    interrupt(monkeypatch, model, dataset, tmp_path / "s.json", 2, **settings)
    with pytest.raises(UserError, match=rf"is of another run \({said}\)"):
        evaluate({model: tmp_path / "s.json"}, dataset, **(settings | changed))  # type: ignore[arg-type]


def test_rows_of_other_weights_under_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, model = make_pairs(tmp_path / "set", 10), make_model(tmp_path / "m.safetensors", 1)
    output = tmp_path / "s.json"
    interrupt(monkeypatch, model, dataset, output, 2)
    make_model(tmp_path / "m.safetensors", 30)
    with pytest.raises(UserError, match=r"is of another run \(model\)"):
        evaluate({model: output}, dataset)
    make_model(tmp_path / "m.safetensors", 1)
    (tmp_path / "m.safetensors").rename(tmp_path / "n.safetensors")  # the same weights under another name
    found = evaluate({str(tmp_path / "n.safetensors"): output}, dataset)
    assert len(found[str(tmp_path / "n.safetensors")]["per_image"]) == 4


def test_finished_images_that_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    done = shutil.copytree(dataset / "sharp", tmp_path / "done")
    interrupt(monkeypatch, str(done), dataset, tmp_path / "s.json", 3)
    write_image(done / "0.bmp", Image(read_rgb8(done / "0.bmp") // 2))
    found = evaluate({str(done): tmp_path / "s.json"}, dataset)[str(done)]
    assert found["per_image"]["0.bmp"]["psnr"] == psnr(
        read_rgb8(done / "0.bmp"), read_rgb8(dataset / "sharp" / "0.bmp")
    )
    assert found["per_image"]["1.bmp"]["psnr"] is None  # equal to the sharp one
    interrupt(monkeypatch, str(done), dataset, tmp_path / "t.json", 3)
    with pytest.raises(UserError, match=r"of another run \(model\)"):
        evaluate({"blurry": tmp_path / "t.json"}, dataset)


def test_pictures_are_kept_also_of_what_was_scored_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    interrupt(monkeypatch, "blurry", dataset, tmp_path / "s.json", 3)
    write_image(tmp_path / "s.images" / "0.png", Image(make_photo(40, 50)))  # of an older run
    write_image(tmp_path / "s.images" / "1.png", Image(make_photo(41, 50)))
    evaluate({"blurry": tmp_path / "s.json"}, dataset, restoring=RestoreSettings(save=True))
    for number in range(4):
        kept = read_rgb8(tmp_path / "s.images" / f"{number}.png")
        assert np.array_equal(kept, read_rgb8(dataset / "blur" / f"{number}.bmp"))
    assert read_scores(tmp_path / "s.json")[0].images is not None
    evaluate({"blurry": tmp_path / "s.json"}, dataset)  # now the images lie there of an earlier run
    assert read_scores(tmp_path / "s.json")[0].images is None


def test_an_output_that_holds_others_scores_is_left_alone(tmp_path: Path) -> None:
    dataset, model = make_pairs(tmp_path / "set", 10), make_model(tmp_path / "m.safetensors", 1)
    output = tmp_path / "s.json"
    evaluate({model: output}, dataset)
    before = output.read_bytes()
    with pytest.raises(UserError, match=r"s\.json holds scores of m\.safetensors \(weights .*\): choose another -o"):
        evaluate({"blurry": output}, dataset)
    with pytest.raises(UserError, match=r"s\.json holds scores on other images \(set\)"):
        evaluate({model: output}, make_pairs(tmp_path / "other" / "set", 90))
    make_model(tmp_path / "m.safetensors", 30)
    with pytest.raises(UserError, match=r"s\.json holds scores of m\.safetensors"):
        evaluate({model: output}, dataset)
    assert output.read_bytes() == before
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(UserError, match=r"s\.json holds scores of"):
        is_scored(output, model, dataset)
    evaluate({model: output}, dataset, overwrite=True)
    assert is_scored(output, model, dataset)
    evaluate({model: output}, dataset, metrics=["psnr", "ssim_2d"])  # the same model and images: renewed
    assert "ssim_2d" in json.loads(output.read_text())["mean"]


def test_an_output_that_would_hit_another_file(tmp_path: Path) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    for name, said in (("s.csv", r"must end in \.json"), ("s", r"must end in \.json"), ("s.txt", r"\.json")):
        with pytest.raises(UserError, match=said):
            evaluate({"blurry": tmp_path / name}, dataset)
    (tmp_path / "notes.csv").write_text("mine,1\n")
    (tmp_path / "labels.csv").write_text("image,label\n0.bmp,cat\n")
    (tmp_path / "mine.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match=r"notes\.csv would be replaced by the scores of each image"):
        evaluate({"blurry": tmp_path / "notes.json"}, dataset)
    with pytest.raises(UserError, match=r"labels\.csv would be replaced by the scores of each image"):
        evaluate({"blurry": tmp_path / "labels.json"}, dataset)
    with pytest.raises(UserError, match=r"mine\.json is not a scores file"):
        evaluate({"blurry": tmp_path / "mine.json"}, dataset, overwrite=True)
    with pytest.raises(UserError, match="would both go to"):
        evaluate({"blurry": tmp_path / "a.json", str(dataset / "sharp"): tmp_path / "a.json"}, dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.csv", "mine.json", "notes.csv", "set"]


def test_a_report_does_not_hit_the_scores_of_every_image(tmp_path: Path) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    evaluate({"blurry": tmp_path / "set.json"}, dataset)
    before = (tmp_path / "set.csv").read_bytes()
    with pytest.raises(UserError, match=r"set\.csv holds the scores of each image"):
        write_report([tmp_path / "set.json"], tmp_path)
    assert (tmp_path / "set.csv").read_bytes() == before
    evaluate({"blurry": tmp_path / "other.json"}, dataset)
    with pytest.raises(UserError, match=r"set\.csv holds the scores of each image"):
        write_report([tmp_path / "other.json"], tmp_path)
    assert not (tmp_path / "set.md").exists()
    write_report([tmp_path / "other.json"], tmp_path / "out")
    write_report([tmp_path / "other.json"], tmp_path / "out")  # its own tables are replaced


def test_labels_that_differ_in_a_slash_share_no_folder_and_no_table(tmp_path: Path) -> None:
    places = [tmp_path / "A" / "test", tmp_path / "B" / "test", tmp_path / "A-test"]
    datasets = [make_pairs(place, 10 + 20 * number) for number, place in enumerate(places)]
    evaluate({"blurry": tmp_path / "s.json"}, datasets, restoring=RestoreSettings(save=True))
    scores = read_scores(tmp_path / "s.json")
    assert len({item.images for item in scores}) == 3
    for item, dataset in zip(scores, datasets, strict=True):
        assert item.images is not None
        assert np.array_equal(read_rgb8(item.images / "0.png"), read_rgb8(dataset / "blur" / "0.bmp"))
    write_report([tmp_path / "s.json"], tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.csv"))) == 3
    earlier = tmp_path / "s.images" / "B-test"
    Place(tmp_path / "s.json", "B/test").images.rename(earlier)
    assert read_scores(tmp_path / "s.json")[1].images == earlier


def test_datasets_of_one_name_are_not_one_table(tmp_path: Path) -> None:
    for letter, offset in (("A", 10), ("B", 90)):
        evaluate({"blurry": tmp_path / f"{letter}.json"}, make_pairs(tmp_path / letter / "test", offset))
    write_report([tmp_path / "A.json", tmp_path / "B.json"], tmp_path / "out")
    tables = [(tmp_path / "out" / f"{name}.csv").read_text().splitlines() for name in ("test", "test (2)")]
    assert [len(table) for table in tables] == [2, 2]
    assert tables[0][1] != tables[1][1]


def test_twins_are_refused(tmp_path: Path) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    done = shutil.copytree(dataset / "sharp", tmp_path / "done")
    write_image(done / "2.png", Image(make_photo(42, 50)))
    with pytest.raises(UserError, match=r"2\.bmp and .*2\.png belong to the same pair"):
        evaluate({str(done): tmp_path / "a.json"}, dataset)
    for side in ("blur", "sharp"):
        write_image(dataset / side / "2.png", Image(make_photo(42, 50)))
    with pytest.raises(UserError, match=r"2\.bmp and .*2\.png would both be called 2: rename one"):
        evaluate({"blurry": tmp_path / "b.json"}, dataset)


def test_sides_that_are_swapped_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    (dataset / "sharp").rename(tmp_path / "was-sharp")
    (dataset / "blur").rename(dataset / "sharp")
    (tmp_path / "was-sharp").rename(dataset / "blur")
    found = evaluate({"blurry": tmp_path / "a.json"}, dataset)["blurry"]
    assert found["swapped"] == ["0.bmp", "1.bmp", "2.bmp", "3.bmp"]
    said = capsys.readouterr().err
    assert (
        "set: the blurry image is sharper than the sharp one in 4 of 4 pairs (0.bmp, 1.bmp, 2.bmp, ...): are they"
        in said
    )
    page = write_report([tmp_path / "a.json"], tmp_path / "r").read_text()
    assert "the blurry image is sharper than the sharp one in 4 pairs" in page


def test_several_sets_give_one_table_and_one_file(tmp_path: Path) -> None:
    first, second = make_pairs(tmp_path / "A" / "test", 10), make_pairs(tmp_path / "B" / "test", 90, suffix=".png")
    output = tmp_path / "s.json"
    command = ["evaluate", "blurry", str(first), str(second), "-o", str(output), "--metrics", "psnr,ssim,periodicity"]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert lines[0] == "blurry on A/test, B/test"
    assert lines[1].split() == ["A/test", "B/test"]
    assert {line.split()[0] for line in lines[3:]} == {"gopro-hinet/psnr", "gopro-hinet/ssim", "psnr", "periodicity"}
    written = json.loads(output.read_text())
    alone = evaluate({"blurry": tmp_path / "a.json"}, first, protocols=["gopro-hinet"], metrics=["psnr", "periodicity"])
    assert written["sets"]["A/test"]["mean"] == alone["blurry"]["mean"]
    assert [scores.dataset for scores in read_scores(output)] == ["A/test", "B/test"]
    assert (tmp_path / "s.csv").read_text().splitlines()[0].startswith("set,image,gopro-hinet/psnr")
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 9
    with pytest.raises(UserError, match="is given twice"):
        evaluate({"blurry": tmp_path / "b.json"}, [first, first])
    with pytest.raises(UserError, match="holds scores on other images"):
        evaluate({"blurry": output}, first)


def test_several_sets_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [make_pairs(tmp_path / name, 10) for name in ("one", "two")]
    interrupt(monkeypatch, "blurry", sets, tmp_path / "s.json", 5)  # type: ignore[arg-type]
    assert not (tmp_path / "s.json").exists()
    assert interrupt(monkeypatch, "blurry", sets, tmp_path / "s.json", 2) == 2  # type: ignore[arg-type]
    found = evaluate({"blurry": tmp_path / "s.json"}, sets)["blurry"]
    assert [section["images"] for section in found["sets"].values()] == [4, 4]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.usefixtures("empty_metric_cache")
def test_a_metric_that_is_not_there_ends_with_status_1_and_an_address(tmp_path: Path) -> None:
    dataset = make_pairs(tmp_path / "set", 10)
    run = CliRunner().invoke(
        app, ["evaluate", "blurry", str(dataset), "-o", str(tmp_path / "s.json"), "--metrics", "pieapp,psnr"]
    )
    assert run.exit_code == 1, run.output
    assert "metric pieapp" in run.stderr
    assert "https://" in run.stderr.split("metric pieapp", 1)[1]
    assert json.loads((tmp_path / "s.json").read_text())["mean"]["psnr"] > 0


def test_two_datasets_of_one_scores_file_never_share_a_file(tmp_path: Path) -> None:
    places = [Place(tmp_path / "scores.json", section) for section in (None, "a/b", "a-b", "a b", "a%2Fb")]
    assert len({place.partial for place in places}) == len(places)
    assert {place.partial.parent for place in places} == {tmp_path}
