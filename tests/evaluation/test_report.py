"""The report: one file, honest tables, images that move together, and files it does not believe."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import cells, make_photo
from tfmlc.errors import UserError
from tfmlc.evaluation.evaluate import evaluate
from tfmlc.evaluation.report import changed_place, write_report
from tfmlc.evaluation.sources import RestoreSettings
from tfmlc.evaluation.tables import build_table
from tfmlc.io.images import Image, write_image
from tfmlc.reproduce.paper import find_values

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 40, (4, 96, 128, 3), dtype=np.uint8)
    for number in range(4):
        sharp = make_photo(96, 128) // 2 + noise[number]
        blurry = np.mean([np.roll(sharp, shift, axis=1) for shift in range(-3, 4)], axis=0).round().astype(np.uint8)
        better = (sharp.astype(float) * 0.2 * number + blurry.astype(float) * (1 - 0.2 * number)).astype(np.uint8)
        for side, image in (("blur", blurry), ("sharp", sharp), ("done", better // (4 if number == 0 else 1))):
            folder = tmp_path / "finished" if side == "done" else tmp_path / "set" / side
            write_image(folder / f"{number}.png", Image(image))
    return tmp_path / "set"


@pytest.fixture
def files(tmp_path: Path, pairs: Path) -> list[Path]:
    models = {"blurry": tmp_path / "blurry.json", str(tmp_path / "finished"): tmp_path / "finished.json"}
    protocols, kept = ["gopro-hinet", "realblur-ecc"], RestoreSettings(save=True)
    evaluate(models, pairs, metrics=["ssim_2d"], protocols=protocols, restoring=kept)
    return list(models.values())


def test_one_file_that_needs_nothing_else(tmp_path: Path, pairs: Path, files: list[Path]) -> None:
    page = write_report(files, tmp_path / "out", pairs).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"|url\((?!#)[^)]*\)|@import", page)
    assert "0.png (worst: -" in page
    assert "3.png (most improved: +" in page
    assert "finished: lower PSNR than the blurry input on 1 images (0.png)" in page
    assert page.count('class="slider"') == 3
    assert write_report(files, tmp_path / "bare").read_text().count('class="slider"') == 0


def test_tables_say_what_the_files_say(tmp_path: Path, files: list[Path]) -> None:
    write_report(files[::-1], tmp_path / "out")
    with (tmp_path / "out" / "set.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["blurry", "finished"]
    assert float(rows[1]["gopro-hinet/psnr"]) == json.loads(files[1].read_text())["mean"]["gopro-hinet/psnr"]
    assert "**" in (tmp_path / "out" / "set.md").read_text().splitlines()[3]
    assert r"\textbf" in (tmp_path / "out" / "set.tex").read_text()


def test_published_values_stand_beside_ours(tmp_path: Path, pairs: Path) -> None:
    file = tmp_path / "ours.json"
    published = find_values("table1/hinet/tfmlc/GoPro")
    evaluate({"blurry": file}, pairs, protocols=["tfmlc-paper-hinet"], metrics=[], more={"published": published})
    page = write_report([file], tmp_path / "out").read_text()
    ours = json.loads(file.read_text())["mean"]["tfmlc-paper-hinet/psnr"]
    assert [f">{text}<" in page for text in (f"{ours:.3f}", "32.438", f"{ours - 32.4385:+.3f}", "0.0554")] == [True] * 4
    with pytest.raises(UserError, match=r"did you mean table3/3\?|table3"):
        find_values("table3/4")


def test_the_best_is_marked_by_direction() -> None:
    table = build_table([("a", {"psnr": 1.0, "lpips": 0.1}), ("b", {"psnr": 2.0, "lpips": 0.2}), ("c", {"psnr": None})])
    assert [[cell.best for cell in cells] for _, cells in table.rows] == [[False, True], [True, False], [False, False]]
    assert cells(table.as_markdown())[-1] == ["c", "-", "-"]
    assert "psnr $\\uparrow$ & lpips $\\downarrow$" in table.as_latex()


def test_the_place_shown_is_where_most_changed() -> None:
    before = make_photo(96, 128)
    after = before.copy()
    after[60:80, 100:120] ^= 255
    rows, columns = changed_place(before, after)
    assert rows.start <= 60
    assert rows.stop >= 80
    assert columns.start <= 100
    assert columns.stop >= 120


def test_files_it_does_not_believe(tmp_path: Path, files: list[Path]) -> None:
    content = json.loads(files[1].read_text())
    for change, said in (
        ({"mean": {**content["mean"], "ssim_2d": 0.99}}, "the mean of ssim_2d does not fit the scores of its images"),
        ({"format": 7}, "has format 7, but this version needs 1"),
        ({"model": None, "per_image": None}, ""),
        ({"swapped": 7}, r"is not a scores file of tfmlc evaluate \(swapped: "),
        ({"provenance": []}, r"is not a scores file of tfmlc evaluate \(provenance: "),
        ({"not_finite": {"psnr": "many"}}, r"is not a scores file of tfmlc evaluate \(not_finite\.psnr: "),
    ):
        other = tmp_path / "other.json"
        kept = {key: value for key, value in {**content, **change}.items() if value is not None}
        other.write_text(json.dumps(kept))
        with pytest.raises(UserError, match=said or "is not a scores file"):
            write_report([other], tmp_path / "out")
    (tmp_path / "text.json").write_text("no")
    with pytest.raises(UserError, match="is not JSON"):
        write_report([tmp_path / "text.json"], tmp_path / "out")


def test_scores_that_do_not_say_where_they_come_from(tmp_path: Path, files: list[Path]) -> None:
    content = json.loads(files[1].read_text())
    del content["provenance"]
    (tmp_path / "other.json").write_text(json.dumps({**content, "sha256": None}))
    page = write_report([tmp_path / "other.json"], tmp_path / "out")
    assert "<code>\N{EN DASH}</code>" in page.read_text(encoding="utf-8")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to open the page in")
@pytest.mark.parametrize("width", [390, 1280])
def test_sliders_and_zoom_in_a_browser(tmp_path: Path, pairs: Path, files: list[Path], width: int) -> None:
    page = write_report(files, tmp_path / "out", pairs)
    script = """<script>
      const slider = document.querySelector(".slider"), range = slider.querySelector("input");
      const edge = () => Math.round(slider.querySelector(".edge").getBoundingClientRect().left);
      const box = slider.getBoundingClientRect(), before = edge();
      range.value = 80; range.dispatchEvent(new Event("input"));
      const crop = document.querySelector(".window"), part = crop.getBoundingClientRect();
      crop.dispatchEvent(new PointerEvent("pointermove", {clientX: part.left + part.width / 4, clientY: part.top}));
      crop.click();
      const style = [...crop.closest(".crops").querySelectorAll("img")].map(image => getComputedStyle(image).transform);
      document.body.innerHTML = JSON.stringify({
        before: (before - box.left) / box.width, after: (edge() - box.left) / box.width, style: style,
        wide: document.documentElement.scrollWidth <= innerWidth});
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", script))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    dumped = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120).stdout
    found = json.loads(re.search(r"<body>(\{.*\})", dumped)[1])
    assert found["before"] == pytest.approx(0.5, abs=0.02)
    assert found["after"] == pytest.approx(0.8, abs=0.02)
    assert set(found["style"]) == {"matrix(4, 0, 0, 4, 0, 0)"}
    assert len(found["style"]) == 3
    assert found["wide"]
