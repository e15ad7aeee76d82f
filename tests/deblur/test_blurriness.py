"""Blurriness: more motion has a higher score, where it is, and what is not blurred can be left alone."""

from __future__ import annotations

import csv
import sys
import weakref
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from typer.testing import CliRunner, Result

from clips import Clip, write_clip
from conftest import REPOSITORY
from tfmlc.cli import app
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.deblur import Deblurrer, blurriness
from tfmlc.deblur.batch import plan_batch, run_batch
from tfmlc.deblur.blur_meter import BAND_PX, WEIGHTS, blurriness_of_pixels
from tfmlc.deblur.limits import BLURRY_PX
from tfmlc.deblur.measuring import FRAMES, measure_file, score_file
from tfmlc.errors import UserError
from tfmlc.io.images import Image, read_image, read_rgb8, write_image
from tfmlc.io.video import read_properties
from tfmlc.io.video.pixels import to_rgb
from tfmlc.networks import build_network

LENGTHS_PX = (0.01, 4, 8, 14)


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return read_rgb8(REPOSITORY / "examples" / "street.png")[:, :512]


def blurred(photo: np.ndarray, length_px: float) -> np.ndarray:
    config = BlurConfig(strength_px=(length_px, length_px), exposure=(0.2, 0.2), turning=0, moving_patches=(0, 0))
    return blur_image(photo, config, np.random.default_rng(3))[0]


def test_longer_motion_has_a_higher_score(sharp: np.ndarray) -> None:
    scores = [blurriness(blurred(sharp, length)).score_px for length in LENGTHS_PX]
    assert scores == sorted(scores)
    assert scores[0] < BLURRY_PX < scores[3]
    assert all(length / 2 < score + 1 < 3 + 1.5 * length for score, length in zip(scores, LENGTHS_PX, strict=True))


def test_the_map_shows_where(sharp: np.ndarray) -> None:
    mixed = sharp.copy()
    mixed[:, 256:] = cv2.blur(sharp, (1, 15))[:, 256:]
    found = blurriness(mixed)
    assert found.map_px.shape == (17, 32)
    assert np.median(found.map_px[:, 18:]) > 3 * np.median(found.map_px[:, :14])


def test_every_type_of_image_has_the_same_score(sharp: np.ndarray) -> None:
    score = blurriness(sharp).score_px
    assert blurriness(PILImage.fromarray(sharp)).score_px == score
    assert blurriness(sharp.astype(np.uint16) * 257).score_px == score
    assert blurriness(torch.from_numpy(sharp.copy()).permute(2, 0, 1).double() / 255).score_px == score
    assert blurriness(sharp[..., 0]).score_px == pytest.approx(blurriness(sharp[..., :1].repeat(3, 2)).score_px)


def test_bands_do_not_change_it(sharp: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    tall = np.concatenate([sharp, sharp[::-1]])
    whole = blurriness_of_pixels(tall)
    assert tall.shape[0] < BAND_PX
    monkeypatch.setattr("tfmlc.deblur.blur_meter.BAND_PX", 256)
    assert np.abs(blurriness_of_pixels(tall).map_px - whole.map_px).max() < 0.01


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 300, 3), (17, 33, 1), (64, 64, 4)])
def test_any_size_and_channels(shape: tuple[int, ...]) -> None:
    found = blurriness(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert found.map_px.shape == tuple(max(1, side // 16) for side in shape[:2])
    assert np.isfinite(found.score_px)
    assert np.isfinite(blurriness(np.zeros(shape, np.uint8)).score_px)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3), np.int64), torch.zeros(1, 3, 4, 4)]
)
def test_other_inputs_are_refused(image: np.ndarray) -> None:
    with pytest.raises(UserError):
        blurriness(image)


def test_the_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 500_000


# Files.


@pytest.fixture
def folder(tmp_path: Path, sharp: np.ndarray) -> Path:
    write_image(tmp_path / "in" / "sharp.jpg", Image(sharp))
    write_image(tmp_path / "in" / "deep" / "moved.png", Image(cv2.blur(sharp, (15, 1))))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "in" / "drawing.psd").write_bytes(b"8BPS")
    return tmp_path / "in"


def tfmlc(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_files_are_listed_from_the_most_blurred_on(folder: Path, tmp_path: Path) -> None:
    result = tfmlc("blurriness", folder, "--map", tmp_path / "maps", "-o", tmp_path / "scores.csv")
    first, second = result.stdout.splitlines()
    assert first.endswith(f"px  blurred  {folder / 'deep' / 'moved.png'}")
    assert second.endswith(f"px  sharp    {folder / 'sharp.jpg'}")
    assert (result.exit_code, "1 skipped: 1 .psd" in result.stderr, "broken.png" in result.stderr) == (1, True, True)
    rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert [Path(row["file"]).name for row in rows] == ["moved.png", "sharp.jpg"]
    assert [row["blurred"] for row in rows] == ["true", "false"]
    assert float(rows[0]["score_px"]) == pytest.approx(float(first.split()[0]), abs=0.06)
    for name in ("deep/moved.png.png", "sharp.jpg.png"):
        assert read_image(tmp_path / "maps" / name).pixels.shape == (272 + 24, 512, 3)


def test_a_video_is_measured(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", Clip())
    result = tfmlc("blurriness", source, "--map", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.endswith(f"{source}\n")
    assert (tmp_path / "a.mp4.png").exists()


def test_a_short_video_that_does_not_say_its_length_is_measured(tmp_path: Path) -> None:
    live = tmp_path / "live.mkv"
    with (
        av.open(str(write_clip(tmp_path / "a.mkv", Clip(sound=None)))) as source,
        av.open(str(live), "w", options={"live": "1"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert read_properties(live).frames is None
    assert measure_file(live).score_px > 0


def test_one_frame_of_a_video_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, held, most, made = 4 * FRAMES, list[weakref.ref[np.ndarray]](), [0], [0]
    source = write_clip(tmp_path / "a.mkv", Clip(pts=tuple(range(0, count * 512, 512)), sound=None))

    def to_rgb_counted(frame: Any) -> np.ndarray:
        pixels = np.array(to_rgb(frame))
        held.append(weakref.ref(pixels))
        most[0] = max(most[0], sum(one() is not None for one in held))
        made[0] += 1
        return pixels

    monkeypatch.setattr("tfmlc.io.video.pixels.to_rgb", to_rgb_counted)
    score = score_file(source).score_px
    assert (most[0], made[0] >= FRAMES) == (1, True)
    measured = measure_file(source)
    assert (most[0], measured.score_px) == (1, score)
    assert blurriness(measured.pixels).score_px == score


def test_what_is_missing_or_would_be_mixed_up_is_one_line(folder: Path, tmp_path: Path, sharp: np.ndarray) -> None:
    assert tfmlc("blurriness", tmp_path / "nowhere").stderr.startswith("tfmlc: there is no file or folder")
    write_image(tmp_path / "sharp.jpg", Image(sharp))
    result = tfmlc("blurriness", folder / "sharp.jpg", tmp_path / "sharp.jpg", "--map", tmp_path / "maps")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "same map" in result.stderr


def test_no_photo_is_replaced_by_scores_or_maps(tmp_path: Path, sharp: np.ndarray) -> None:
    for name in ("a.png", "a.png.png", "b.jpg"):
        write_image(tmp_path / name, Image(sharp[:64, :64]))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("a.png", "b.jpg", "scores"):
        result = tfmlc("blurriness", tmp_path / "a.png.png", "-o", tmp_path / name)
        assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
        assert "ends in .csv" in result.stderr
    for _ in range(2):  # its own maps are made again
        result = tfmlc("blurriness", tmp_path / "a.png", tmp_path / "b.jpg", "--map", tmp_path)
        assert result.stderr == (
            f"tfmlc: {tmp_path / 'a.png.png'} is not a map and would be overwritten: give another folder with --map\n"
        )
        assert (result.exit_code, len(result.stdout.splitlines()), (tmp_path / "b.jpg.png").exists()) == (1, 2, True)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_maps_of_an_earlier_run_are_no_photos(tmp_path: Path, sharp: np.ndarray) -> None:
    photos = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "c.jpg.png"):  # a photo may have the name of a map
        write_image(photos / name, Image(sharp[:64, :64]))
    skipped = ""
    for maps in (photos / "maps", photos / "maps", photos):
        result = tfmlc("blurriness", photos, "--map", maps)
        assert (result.exit_code, len(result.stdout.splitlines()), result.stderr) == (0, 3, skipped)
        skipped = "3 skipped: 3 maps of blurriness (from an earlier run)\n"
    assert sorted(path.name for path in (photos / "maps").iterdir()) == ["a.png.png", "b.jpg.png", "c.jpg.png.png"]
    batch = plan_batch([photos], tmp_path / "out")
    assert [job.source.name for job in batch.jobs] == ["a.png", "b.jpg", "c.jpg.png"]
    assert dict(batch.skipped) == {"maps of blurriness (from an earlier run)": 6}


def test_a_name_too_long_for_a_map_is_one_line(tmp_path: Path, sharp: np.ndarray) -> None:
    name = f"{'n' * 249}.jpg"
    write_image(tmp_path / "a.jpg", Image(sharp[:64, :64]))
    (tmp_path / "a.jpg").rename(tmp_path / name)
    result = tfmlc("blurriness", tmp_path / name, "--map", tmp_path / "maps")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "too long" in result.stderr


def test_a_limit_without_its_option_is_one_line(folder: Path, tmp_path: Path) -> None:
    result = tfmlc("deblur", folder, "-o", tmp_path / "out", "--blurry-px", 8)
    said = "tfmlc: --blurry-px needs --only-blurry: without it all files are restored\n"
    assert (result.exit_code, result.stderr) == (2, said)


def test_a_video_without_pyav_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_clip(tmp_path / "a.mp4", Clip(sound=None))
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "tfmlc.io.video.by_pyav", raising=False)
    result = tfmlc("blurriness", source)
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "pip install 'tfmlc[video]'" in result.stderr


def test_only_what_is_blurred_is_restored(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    write_clip(folder / "still.mp4", Clip())
    for _ in range(2):
        result = tfmlc("deblur", folder, "-o", tmp_path / "out", "--only-blurry", "--blurry-px", 8)
        assert result.exit_code == 0
        assert f"{tmp_path / 'out' / 'sharp.jpg'} is a copy: it is not blurred: " in result.stderr
        assert "they are not blurred" in result.stderr
    for name, same in (("sharp.jpg", True), ("deep/moved.png", False)):
        assert ((tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()) == same


def test_what_an_earlier_run_restored_is_copied_if_it_is_not_blurred(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    out, photo = tmp_path / "out", folder / "sharp.jpg"
    assert tfmlc("deblur", folder, "-o", out).exit_code == 0
    restored = {path.name: path.read_bytes() for path in (out / "sharp.jpg", out / "deep" / "moved.png")}
    assert restored["sharp.jpg"] != photo.read_bytes()
    said = tfmlc("deblur", folder, "-o", out, "--only-blurry").stderr
    assert f"{out / 'sharp.jpg'} is a copy: it is not blurred" in said
    assert "1 of 2 images have a result" in said
    assert (out / "sharp.jpg").read_bytes() == photo.read_bytes()
    assert (out / "deep" / "moved.png").read_bytes() == restored["moved.png"]
    assert tfmlc("deblur", folder, "-o", out).exit_code == 0
    assert (out / "sharp.jpg").read_bytes() == restored["sharp.jpg"]


@pytest.mark.parametrize(("name", "other"), [("a.jpeg", "b.jpg"), ("a.tif", "b.TIFF"), ("a.mp4", "b.m4v")])
def test_what_is_kept_is_copied_under_another_suffix_of_its_format(
    tmp_path: Path, sharp: np.ndarray, name: str, other: str
) -> None:
    source = tmp_path / name
    write_clip(source) if name == "a.mp4" else write_image(source, Image(sharp))
    source.write_bytes(source.read_bytes() + bytes(8))
    result = tfmlc("deblur", source, "-o", tmp_path / other, "--only-blurry", "--blurry-px", 1000)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / other).read_bytes() == source.read_bytes()


def test_frames_and_files_in_place_that_are_not_blurred_stay(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").unlink()
    before = (folder / "sharp.jpg").read_bytes()
    torch.manual_seed(0)
    network = build_network("nafnet", width=8, encoder_blocks=(1,), decoder_blocks=(1,), middle_blocks=1)
    torch.nn.init.zeros_(network.get_parameter("ending.weight"))
    torch.nn.init.constant_(network.get_parameter("ending.bias"), 0.01)
    deblurrer = Deblurrer(network, precision="fp32")
    frames = run_batch(deblurrer, plan_batch([folder], tmp_path / "out"), as_frames=True, least_px=BLURRY_PX)
    assert [(outcome.job.source.name, outcome.kept) for outcome in frames] == [
        ("moved.png", ""),
        ("sharp.jpg", "not blurred"),
    ]
    assert (tmp_path / "out" / "sharp.jpg").read_bytes() == before
    in_place = list(run_batch(deblurrer, plan_batch([folder], in_place=True), least_px=BLURRY_PX))
    assert [outcome.kept for outcome in in_place] == ["", "not blurred"]
    assert (folder / "sharp.jpg").read_bytes() == before
