"""The command line: what it prints, where it writes, and how it refuses."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import typer.main
from typer.testing import CliRunner, Result

from conftest import make_photo
from tfmlc.cli import app
from tfmlc.io.images import Image, read_image, write_image
from tfmlc.io.locks import LOCK, file_lock, folder_lock
from tfmlc.io.weights import find_model, shipped_models
from tfmlc.losses import Adapter
from tfmlc.losses.adapter import MadeFor
from tfmlc.networks import build_network, load_network, save_network

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network's weights file."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    network = build_network("hinet", width=8, depth=3, normalised_levels=(1, 2))
    with torch.no_grad():
        network.last.weight.mul_(0.05)
        network.last.bias.zero_()
    save_network(path, network, origin="a test", licence="CC0-1.0")
    return str(path)


def tfmlc(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.output


def save(path: Path, height: int = 40, width: int = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(make_photo(height, width)))
    return path


def test_help_needs_no_heavy_import() -> None:
    heavy = ("torch", "numpy", "cv2", "pydantic", "PIL")
    code = f"import sys, tfmlc.cli.commands; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert tfmlc("--help").exit_code == 0
    assert tfmlc("--version").stdout.strip() == version("tfmlc")


@pytest.mark.parametrize("module", ["typer", "tfmlc.cli.tree", "tfmlc.cli.train", "tfmlc.deblur.batch"])
def test_an_interruption_of_an_import_is_one_line(module: str) -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from tfmlc.cli import main\n"
        "main()\n"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, "deblur", "a.png", "-o", "b.png"], capture_output=True, text=True, check=False
    )
    said = "tfmlc: interrupted; finished work is kept, run the same command to continue\n"
    assert (made.returncode, made.stdout, made.stderr) == (130, "", said)


def test_help_names_every_command_once_and_what_a_newcomer_needs_first() -> None:
    listed = re.findall(r"^[^\w-]+([a-z]+)  +[A-Z]", tfmlc("--help").stdout, re.MULTILINE)
    commands = typer.main.get_command(app).commands
    assert sorted(listed) == sorted(commands)
    assert listed[:3] == ["deblur", "blurriness", "app"]


def test_one_photo(tmp_path: Path, model: str) -> None:
    source = save(tmp_path / "in.jpg")
    before = source.read_bytes()
    result = tfmlc("deblur", source, "-o", tmp_path / "new" / "out.png", "--model", model, "--compare")
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "new" / "out.png").pixels.shape == (40, 60, 3)
    assert read_image(tmp_path / "new" / "out-compare.png").pixels.shape == (40, 124, 3)
    assert "times as strong" in result.stderr
    assert source.read_bytes() == before


def test_folder_keeps_names_order_and_formats_and_goes_on_past_bad_files(tmp_path: Path, model: str) -> None:
    for name in ("f10.jpg", "f9.png", "deeper/a.webp", "deeper/b.tif", "c.bmp"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.png").write_text("text")
    (tmp_path / "in" / "cut.jpg").write_bytes((tmp_path / "in" / "f10.jpg").read_bytes()[:400])
    result = tfmlc("deblur", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 1
    made = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert made == ["c.bmp", "deeper/a.webp", "deeper/b.tif", "f10.jpg", "f9.png"]
    lines = result.stderr.splitlines()
    assert next(i for i, s in enumerate(lines) if "f9.png" in s) < next(
        i for i, s in enumerate(lines) if "f10.jpg" in s
    )
    summary = result.stderr[result.stderr.index("2 of 7 images failed") :]
    assert "bad.png" in summary
    assert "cut.jpg" in summary


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (7, 7)])
def test_odd_sizes(tmp_path: Path, model: str, size: tuple[int, int]) -> None:
    source = save(tmp_path / "in.png", *size)
    assert tfmlc("deblur", source, "-o", tmp_path / "out.png", "--model", model).exit_code == 0
    assert read_image(tmp_path / "out.png").pixels.shape == (*size, 3)


def test_in_place_is_said_or_refused(tmp_path: Path, model: str) -> None:
    source = save(tmp_path / "in.png")
    before = source.read_bytes()
    refused(tfmlc("deblur", source, "-o", source, "--model", model), "--in-place", "overwritten")
    refused(tfmlc("deblur", source, "-o", tmp_path, "--model", model), "--in-place")
    refused(tfmlc("deblur", source, "--model", model), "-o", "--in-place")
    refused(tfmlc("deblur", source, "-o", tmp_path / "x.png", "--in-place"), "not both")
    refused(tfmlc("deblur", tmp_path, "-o", tmp_path), "is also the input folder")
    refused(tfmlc("deblur", source, "-o", tmp_path / "x.gif"), "x.gif", "use a suffix of")
    assert source.read_bytes() == before
    assert tfmlc("deblur", source, "--in-place", "--model", model).exit_code == 0
    assert source.read_bytes() != before


def test_in_place_keeps_the_mode_follows_links_and_leaves_what_would_be_garbage(tmp_path: Path, model: str) -> None:
    source, link = save(tmp_path / "in.png"), tmp_path / "link.png"
    source.chmod(0o640)
    link.symlink_to(source)
    before = source.read_bytes()
    assert tfmlc("deblur", link, "--in-place", "--model", model).exit_code == 0
    assert link.is_symlink()
    assert source.read_bytes() != before
    assert source.stat().st_mode & 0o777 == 0o640
    network = load_network(model)
    torch.nn.init.constant_(network.get_parameter("last.bias"), 3.0)
    save_network(tmp_path / "broken.safetensors", network, origin="a test", licence="CC0-1.0")
    before = save(source).read_bytes()
    broken = ("--model", tmp_path / "broken.safetensors")
    kept = tfmlc("deblur", source, "--in-place", *broken)
    assert kept.stderr == f"{source} was not changed: the result has another brightness or colour than the image\n"
    assert source.read_bytes() == before
    kept = tfmlc("deblur", source, "-o", tmp_path / "out.png", *broken)
    assert (kept.exit_code, (tmp_path / "out.png").read_bytes()) == (0, before)
    assert "out.png is a copy: the result has another" in kept.stderr
    written = tfmlc("deblur", source, "-o", tmp_path / "out.png", "--no-guard", *broken)
    assert "(the result has another brightness or colour than the image)" in written.stderr
    assert (tmp_path / "out.png").read_bytes() != before


def test_comparisons_do_not_collide_and_are_no_photos(tmp_path: Path, model: str) -> None:
    save(tmp_path / "same.jpg")
    save(tmp_path / "same.png")
    names = {"same.jpg", "same.png", "same-compare.png", "same.png-compare.png"}
    for _ in range(2):
        assert tfmlc("deblur", tmp_path, "--in-place", "--compare", "--model", model).exit_code == 0
        assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.multiprocess
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a.png", 200, 200)
    code = "import sys; from tfmlc.cli import main; sys.modules['accelerate'] = None; main()"
    arguments = ["train", "smoke", f"data.photos=[{tmp_path / 'photos'}]", "-o", str(tmp_path / "run")]
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "tfmlc: this command needs the extra train: pip install 'tfmlc[train]'\n"


def test_an_output_folder_inside_the_input_is_not_deblurred_again(tmp_path: Path, model: str) -> None:
    save(tmp_path / "a.png")
    for _ in range(2):
        assert tfmlc("deblur", tmp_path, "-o", tmp_path / "out", "--model", model).exit_code == 0
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["a.png"]


def test_a_photo_that_seems_too_large_is_refused_until_it_is_allowed(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "in.png", 400, 60)
    monkeypatch.setattr("tfmlc.io.images.reading.free_bytes", lambda: 200_000)
    command = ("deblur", source, "-o", tmp_path / "out.png", "--model", model, "--tile", 128)
    refused(tfmlc(*command), "in.png has 60x400 px", "use --yes-large if you trust the file")
    assert not (tmp_path / "out.png").exists()
    assert tfmlc(*command, "--yes-large").exit_code == 0
    assert read_image(tmp_path / "out.png", allow_large=True).pixels.shape == (400, 60, 3)


def test_deblur_refuses_in_one_line(tmp_path: Path, model: str) -> None:
    good, out = save(tmp_path / "in.png"), tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.png").touch()
    (tmp_path / "weights.safetensors").write_text("none")
    same = save(tmp_path / "other" / "in.png")
    refused(tfmlc("deblur", tmp_path / "missing.png", "-o", out), "missing.png")
    refused(tfmlc("deblur", tmp_path / "zero.png", "-o", out, "--model", model), "zero.png", "is empty")
    refused(tfmlc("deblur", tmp_path / "empty", "-o", out), "no images")
    refused(tfmlc("deblur", good, same, "-o", out, "--model", model), "both become")
    refused(tfmlc("deblur", good, same, "-o", tmp_path / "one.png", "--model", model), "give a folder")
    refused(tfmlc("deblur", good, "-o", out, "--model", "defaul"), "default")
    refused(tfmlc("deblur", good, "-o", out, "--model", tmp_path / "no.pth"), "no such file or directory")
    refused(tfmlc("deblur", good, "-o", out, "--model", tmp_path / "weights.safetensors"), "is a text file that begins")
    refused(tfmlc("deblur", good, "-o", out, "--model", model, "--tile", 2), "size multiple of 4 px")
    for device in ("gpu9", "meta", "hpu", "vulkan", ""):
        refused(tfmlc("deblur", good, "-o", out, "--model", model, "--device", device), "not usable here")
    refused(tfmlc("deblur", good, "-o", tmp_path / "weights.safetensors" / "x", "--model", model), "cannot write")
    assert not out.exists()


def test_options_of_a_cluster_are_refused_where_they_do_nothing(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos" / "a.png").parent
    for words in (("deblur", photos), ("synthesize", "pairs", photos), ("evaluate", "blurry", photos)):
        refused(tfmlc(*words, "-o", tmp_path / "out", "--ray-cores", 2), "--ray-cores needs --ray")
    with_both = ("synthesize", "pairs", photos, "--ray", "-o", tmp_path / "out", "--workers", 2)
    refused(tfmlc(*with_both), "--workers cannot be used with --ray")


@pytest.mark.multiprocess
def test_disk_full_midway_loses_nothing(tmp_path: Path, model: str) -> None:
    """A limit on the size of files stands in for a full disk: both end a write halfway (-B: Python's own too)."""
    source = save(tmp_path / "in.png", 200, 200)
    target = tmp_path / "out.png"
    target.write_bytes(b"what was there before")
    code = (
        "import resource, sys; from tfmlc.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY));"
        "sys.argv = ['tfmlc', *sys.argv[1:]]; main()"
    )
    arguments = ["deblur", str(source), "-o", str(target), "--model", model]
    result = subprocess.run([sys.executable, "-B", "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert f"cannot write {target}" in result.stderr
    assert "Traceback" not in result.stderr
    assert target.read_bytes() == b"what was there before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "out.png"]


def test_models(model: str) -> None:
    megabytes = find_model("default").stat().st_size / 1e6
    assert tfmlc("models", "list").stdout.startswith(f"default  {megabytes:.1f} MB  (same as default-perceptual)")
    info = tfmlc("models", "info", model).stdout
    assert "hinet (width=8, depth=3, normalised_levels=(1, 2)" in info
    assert "CC0-1.0" in info


def test_an_adapter_explains_itself(tmp_path: Path) -> None:
    adapter = Adapter(mode="token", width=384, hidden=8, made_for=MadeFor("dinov2-vit-s14"))
    adapter.save(tmp_path / "adapter.safetensors", origin="a test", licence="CC0-1.0")
    info = tfmlc("models", "info", tmp_path / "adapter.safetensors").stdout
    assert "mode=token, width=384, hidden=8" in info
    assert "dinov2-vit-s14, block 3" in info
    assert "a test" in info


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no control characters")
def test_what_a_file_or_its_name_holds_cannot_change_the_terminal(tmp_path: Path) -> None:
    weights, red = tmp_path / "a.safetensors", "\x1b[31m"
    save_network(weights, build_network("hinet", width=8, depth=2), origin=f"{red}origin", licence=f"{red}licence")
    save(tmp_path / f"{red}a.png", 100, 100)
    for words in (("models", "info", weights), ("models", "convert", weights, "-o", weights), ("blurriness", tmp_path)):
        said = CliRunner().invoke(app, [str(word) for word in words], color=True)  # else typer removes the codes
        assert said.exit_code == 0, said.output
        assert "\x1b" not in said.output
        assert r"\x1b[31m" in said.output


def test_pages_that_shipped_models_name_exist() -> None:
    for name in shipped_models():
        for page in re.findall(r"docs/[\w/-]+\.md", tfmlc("models", "info", name).stdout):
            assert (REPOSITORY / page).is_file(), f"{name} names {page}"


def test_models_name_the_authors_of_their_training_data() -> None:
    for name in shipped_models():
        info = tfmlc("models", "info", name).stdout
        assert "GoPro (Nah et al., CVPR 2017) and REDS (Nah et al., CVPRW 2019), both CC BY 4.0" in " ".join(
            info.split()
        )


def test_weights_of_another_program_are_converted(tmp_path: Path, model: str) -> None:
    state = load_network(model).state_dict()
    torch.save({"params": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "official.pth")
    converted = tmp_path / "converted.safetensors"
    result = tfmlc("models", "convert", tmp_path / "official.pth", "-o", converted, "--licence", "MIT", "--half")
    assert result.exit_code == 0, result.output
    assert "hinet (width=8, depth=3, normalised_levels=(1, 2)" in result.stdout
    assert "MIT" in result.stdout
    for name, value in load_network(converted).state_dict().items():
        assert torch.equal(value, state[name].half().float()), name
    assert converted.stat().st_size < 0.6 * (tmp_path / "official.pth").stat().st_size


def test_a_model_and_one_finetuned_from_it_are_blended(tmp_path: Path, model: str) -> None:
    tuned = load_network(model)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(0.5)
    save_network(tmp_path / "tuned.safetensors", tuned, origin="a test", licence="CC0-1.0")
    blended = tmp_path / "blended.safetensors"
    result = tfmlc("models", "blend", model, tmp_path / "tuned.safetensors", "-o", blended)  # half of each
    assert result.exit_code == 0, result.output
    assert "hinet (width=8" in result.stdout
    start = load_network(model).state_dict()
    for name, value in load_network(blended).state_dict().items():
        assert torch.allclose(value, start[name] + 0.25, atol=1e-6), name


@pytest.mark.multiprocess
def test_synthesize_and_evaluate(tmp_path: Path, model: str) -> None:
    save(tmp_path / "photos" / "a.png", 64, 80)
    save(tmp_path / "photos" / "b.png", 64, 80)
    (tmp_path / "photos" / "bad.png").write_text("text")
    first = tfmlc("synthesize", "pairs", tmp_path / "photos", "-o", tmp_path / "set", "--workers", 2)
    assert first.exit_code == 1
    assert "bad.png is not an image" in first.stderr
    (tmp_path / "photos" / "bad.png").unlink()
    again = tfmlc("synthesize", "pairs", tmp_path / "photos", "-o", tmp_path / "set", "--workers", 2)
    assert "0 pairs made, 2 existed already" in again.stdout
    result = tfmlc("evaluate", model, tmp_path / "set", "-o", tmp_path / "s.json")
    assert result.exit_code == 0, result.output
    assert "2 images" in result.stdout
    assert "gopro-hinet/psnr" in result.stdout
    with file_lock(tmp_path / "other.json"):
        refused(tfmlc("evaluate", model, tmp_path / "set", "-o", tmp_path / "other.json"), "another run", "other.json")
        assert tfmlc("evaluate", model, tmp_path / "set", "-o", tmp_path / "third.json").exit_code == 0
    refused(tfmlc("evaluate", model, tmp_path / "set", "-o", tmp_path / "s.json", "--metrics", "psrn"), "'psnr'")
    refused(tfmlc("evaluate", model, tmp_path / "photos", "-o", tmp_path / "s.json"), "no folder blur")
    assert tfmlc("evaluate", "blurry", tmp_path / "set", "-o", tmp_path / "blurry.json", "--save").exit_code == 0
    spaced = ("--metrics", "psnr, ssim,  periodicity", "--protocol", "gopro-hinet, gopro-basicsr")
    result = tfmlc("evaluate", "blurry", tmp_path / "set", "-o", tmp_path / "spaced.json", *spaced)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("gopro-basicsr/psnr", "gopro-hinet/ssim", "periodicity"))
    files = (tmp_path / "s.json", tmp_path / "blurry.json")
    report = tfmlc("report", *files, "-o", tmp_path / "report", "--dataset", tmp_path / "set")
    assert report.stdout == f"report: {tmp_path / 'report' / 'report.html'}\n"
    assert "small.safetensors" in (tmp_path / "report" / "report.html").read_text()
    assert (tmp_path / "report" / "set.md").read_text().splitlines()[2].startswith("| blurry ")


def test_every_verb_that_fills_a_folder_refuses_one_in_which_another_run_is_at_work(tmp_path: Path) -> None:
    photo = save(tmp_path / "photos" / "a.png", 200, 200)
    for folder, arguments in (
        ("run", ("train", "smoke", f"data.photos=[{photo}]", "-o", tmp_path / "run")),
        ("adapter.run", ("adapt", tmp_path / "set", "-o", tmp_path / "adapter.safetensors")),
        ("set", ("synthesize", "pairs", photo, "-o", tmp_path / "set")),
    ):
        with folder_lock(tmp_path / folder):
            refused(tfmlc(*arguments), "another run of tfmlc", folder)
            assert [path.name for path in (tmp_path / folder).iterdir()] == [LOCK]


@pytest.mark.multiprocess
def test_names_that_are_not_utf8_are_printed_with_their_bytes(tmp_path: Path) -> None:
    """Standard output is strict of itself, and a name may reach it too."""
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(name)  # noqa: PTH102 - a name in bytes
    save(tmp_path / "a.png", 60, 60).rename(os.fsdecode(name + b"/na\xefve.png"))
    command = [sys.executable, "-m", "tfmlc.cli", "synthesize", "pairs", "--workers", "1"]
    made = subprocess.run([*command, name, "-o", name + b"/set"], capture_output=True, check=False)
    assert (made.returncode, made.stderr) == (0, b"")
    assert b"1 pairs made, 0 existed already: " in made.stdout
    assert made.stdout.endswith(b"caf\\xe9/set\n")
    again = subprocess.run([*command, name, "-o", name + b"/set"], capture_output=True, check=False)
    assert again.stdout.startswith(b"0 pairs made, 1 existed already")
    refused = subprocess.run([*command, name + b"/no", "-o", name + b"/set"], capture_output=True, check=False)
    assert refused.stderr.endswith(b"caf\\xe9/no\n")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    refused(tfmlc("adapt", tmp_path, "-o", "."), "it must end in .safetensors")
    (tmp_path / "blur").mkdir()
    (tmp_path / "sharp").mkdir()
    for side in ("blur", "sharp"):
        write_image(tmp_path / side / "a.png", Image(make_photo(40, 60)))
    refused(tfmlc("evaluate", "default", tmp_path, "-o", ".", "--tlc"), "must end in .json")


@pytest.mark.parametrize(
    "words",
    [
        ["deblur", "", "--in-place"],
        ["deblur", "a.png", "", "--in-place"],
        ["deblur", "a.png", "-o", ""],
        ["deblur", "a.png", "--output="],
        ["blurriness", ""],
        ["blurriness", "a.png", "--map", ""],
        ["synthesize", "pairs", "", "-o", "set"],
        ["synthesize", "pairs", "a.png", "-o", ""],
        ["evaluate", "blurry", "", "-o", "scores.json"],
        ["evaluate", "blurry", "set", "-o", ""],
        ["adapt", "", "-o", "adapter.safetensors"],
        ["adapt", "set", "-o", ""],
        ["train", "smoke", "-o", ""],
        ["report", "", "-o", "report.html"],
        ["models", "blend", "default-psnr", "default-perceptual", "-o", ""],
        ["models", "convert", "", "-o", "new.safetensors"],
        ["models", "export", "default", "-o", ""],
        ["bench", "loss", "-o", ""],
        ["reproduce", "study", "-o", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused_and_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """A variable of the shell that is not set is empty."""
    photo = save(tmp_path / "a.png")
    before = photo.read_bytes()
    monkeypatch.chdir(tmp_path)
    refused(tfmlc(*words), "a path is empty")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.png"]
    assert photo.read_bytes() == before


def test_train_refuses_in_one_line(tmp_path: Path) -> None:
    refused(tfmlc("train", "smok", "-o", tmp_path), "did you mean 'smoke'")
    refused(tfmlc("train", "smoke", "loop.stepz=3", "-o", tmp_path), "did you mean 'loop.steps'")
    refused(tfmlc("train", "smoke", "loop.steps=many", "-o", tmp_path), "loop.steps")
    refused(tfmlc("train", "smoke", "-o", tmp_path), "data.photos")
    refused(tfmlc("train", "smoke", "steps", "-o", tmp_path), "key=value")
    refused(tfmlc("train", tmp_path / "no.yaml", "-o", tmp_path), "no.yaml")


def test_print_config_gives_the_same_config_again(tmp_path: Path) -> None:
    shown = tfmlc("train", "smoke", "loop.steps=3", "--print-config")
    (tmp_path / "recipe.yaml").write_text(shown.stdout)
    assert tfmlc("train", tmp_path / "recipe.yaml", "--print-config").stdout == shown.stdout


def test_triplets_adapt_and_their_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 256, (20, 90, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    for video in ("a", "b"):
        for number in range(32):
            frame = np.ascontiguousarray(wall[:, 3 * number : 3 * number + 160])
            write_image(tmp_path / "videos" / video / f"{number}.png", Image(frame))
    made = tfmlc("synthesize", "triplets", tmp_path / "videos", "-o", tmp_path / "set", "--workers", 1)
    assert made.exit_code == 0, made.output
    assert "4 triplets made, 0 existed already" in made.output
    settings = ["mode=token", "hidden=8", "views=1", "epochs=2", "batch_size=2", "augmentation.crop_px=64"]
    adapter = tmp_path / "adapter.safetensors"
    command = ("adapt", tmp_path / "set", "-o", adapter, "--backbone", "alexnet", "--block", 1, "weights=random")
    learned = tfmlc(*command, *settings)
    assert learned.exit_code == 0, learned.output
    assert "triplet accuracy with shared augmentation" in learned.output
    assert adapter.stat().st_size > 1000
    for arguments, message in (
        (
            ("adapt", tmp_path / "videos", "-o", tmp_path / "new.safetensors"),
            "photos are smaller than augmentation.crop_px",
        ),
        (("adapt", tmp_path / "set" / "none", "-o", tmp_path / "new.safetensors"), "has no manifest.jsonl"),
        (("adapt", tmp_path / "set", "-o", adapter, "hiden=8"), "did you mean 'hidden'"),
        (("synthesize", "triplets", tmp_path / "none", "-o", tmp_path / "x"), "there is no file or folder"),
        (("models", "fetch", "vgg19"), "did you mean 'vgg16'"),
    ):
        refused(tfmlc(*arguments), message)
