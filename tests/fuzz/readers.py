"""Files of every kind that is read here, ways to spoil them, and the readers that must refuse them in one line.

A case is a kind and a number. test_found.py names cases by number: whoever changes the seeds of a kind sees to it that
the faults it lists are tested in another way, too.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
import torch
import yaml
from PIL import Image as PilImage
from safetensors.torch import save

from round_trip.sources import sources
from tfmlc.config import checked, read_yaml
from tfmlc.data.datasets.pairs import find_pairs
from tfmlc.data.datasets.triplets import find_triplets
from tfmlc.data.synthesis.manifest import MANIFEST, Manifest, read_manifest
from tfmlc.errors import UserError
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.report import write_report
from tfmlc.io.checkpoint import read_tensors
from tfmlc.io.images import Image, read_image, read_size, restored_mark, write_image
from tfmlc.io.video import find_videos, read_frames
from tfmlc.io.video.by_opencv import decode as decode_by_opencv
from tfmlc.losses import Adapter
from tfmlc.networks import build_network, load_network, save_network
from tfmlc.training.state import read_state
from tfmlc.training.train import TrainConfig

SIZE = (24, 17)
Seeds = Callable[[Path], list[Path]]
SETTINGS = {"kind": "triplets", "folders": ["sharp", "weak", "strong"], "levels": 2}
LEARNED = "adapter.json"
TOKENS = (
    b"0",
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"1e999",
    b"NaN",
    b"true",
    b"../../etc/passwd",
    b"\xff\xfe",
    b"[" * 50,
)
VALUES = (
    *(
        None,
        True,
        0,
        -1,
        0.5,
        1e308,
        1 << 70,
        math.nan,
        math.inf,
        "",
        "a",
        "0",
        "a\0b",
        "\ud800",
        "a\nb",
        "../../a",
        "/a",
    ),
    *("a" * 5000, [], {}, [None], [[]], ["a"], {"a": 1}, {"": None}, {"a": {"a": []}}, [1, 2, 3], "F64", [0, 1 << 62]),
)
ERASED_EVERY, ERASED_BYTES = 49, 1_000_000  # some files end in erased or empty memory, as recovered ones do
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def image_seeds(folder: Path) -> list[Path]:
    """A small file of every image format, depth and kind of pixels, without metadata and with all of them."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    deep = colours.astype(np.uint16) * 257
    exif = PilImage.Exif()
    exif[0x0112], exif[0x010E] = 6, "a street"
    made: list[Path] = []
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp", "a.tif", "a.avif"):
        write_image(folder / name, Image(colours, exif=exif.tobytes(), resolution=(72, 72)))
        made.append(folder / name)
    for name in ("deep.png", "deep.tif"):
        write_image(folder / name, Image(deep))
        made.append(folder / name)
    tifffile.imwrite(folder / "float.tif", colours.astype(np.float32) / 255, photometric="rgb", compression="deflate")
    tifffile.imwrite(folder / "planar.tif", colours.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    PilImage.fromarray(colours).quantize(16).save(folder / "palette.png")
    PilImage.fromarray(colours).convert("CMYK").save(folder / "cmyk.jpg", progressive=True)
    PilImage.fromarray(colours[..., 0]).convert("1").save(folder / "bits.tif", compression="group4")
    PilImage.fromarray(colours).save(folder / "lossless.webp", lossless=True)
    made += [folder / n for n in ("float.tif", "planar.tif", "palette.png", "cmyk.jpg", "bits.tif", "lossless.webp")]
    for number, source in enumerate(sources()):
        made.append(folder / f"{number}{source.suffix}")
        made[-1].write_bytes(source.content)
    return made


def weights_seeds(folder: Path) -> list[Path]:
    """Networks and adapters in every form that people save them in."""
    network = build_network("hinet", width=8, depth=2, normalised_levels=None)
    save_network(folder / "ours.safetensors", network, origin="a test", licence="CC0-1.0")
    torch.save({"params": network.state_dict(), "epoch": 3}, folder / "new.pth")
    torch.save(network.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    Adapter(mode="token", width=8, hidden=4).save(folder / "adapter.safetensors", origin="", licence="")
    info = {"run": json.dumps({"step": 1, "schedule": {}, "recipe": {}})}
    (folder / "state.safetensors").write_bytes(save({"weights.a": torch.ones(2)}, info))
    return [folder / n for n in ("ours.safetensors", "new.pth", "old.pth", "adapter.safetensors", "state.safetensors")]


def text_seeds(folder: Path) -> list[Path]:
    """A manifest, scores, the report of an adaptation, and a recipe."""
    files = {"sharp/a/000001.png": "0" * 64}
    rows = [
        {"settings": SETTINGS},
        {
            "name": "a/000001.png",
            "video": "a",
            "source": "a.mp4",
            "window": [0, 9],
            "files": files,
            "displacement_px": 9,
        },
        {"name": "b.png", "video": "b", "source": "b.png", "seed": [0, 1], "files": files, "strength_px": 26.5},
        {"name": "a", "source": "a.mp4", "windows": 1, "files": {}},
    ]
    for name in ("sharp", "weak", "strong"):
        write_image(folder / name / "a" / "000001.png", Image(np.zeros((4, 4, 3), np.uint8)))
    (folder / MANIFEST).write_text("\n".join(map(json.dumps, rows)) + "\n")
    row = {"psnr": 25.0, "ssim": 0.9}
    scores = {
        "format": 1, "model": "default", "dataset": "pairs", "images": 1, "mean": row, "per_image": {"a.png": row},
        "not_finite": {"psnr": 1}, "unavailable": {"lpips": "no weights"}, "swapped": ["a.png"], "sha256": "0",
        "published": {"psnr": 26.0}, "seconds_per_image": 0.1, "protocols": ["gopro-hinet"],
        "provenance": {"commit": "0", "command": "tfmlc", "device": "cpu", "time": "now"},
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    accuracy = {"shared": {"before": 0.5, "after": 0.9}}
    learned_config = {"backbone": "alexnet", "block": 1, "augmentation": {"crop_px": 64}}
    learned = {"config": learned_config, "held_out": ["a"], "accuracy": accuracy, "recipe": {}, "sha256": "0"}
    (folder / LEARNED).write_text(json.dumps(learned))
    (folder / "recipe.yaml").write_text(
        "network: {name: hinet, sizes: {width: 8}}\nloop: {steps: 8, betas: [0.9, 0.99]}\n"
    )
    return [folder / MANIFEST, folder / "scores.json", folder / LEARNED, folder / "recipe.yaml"]


def video_seeds(folder: Path) -> list[Path]:
    """Short videos in three containers."""
    made: list[Path] = []
    for suffix, code in (("avi", "MJPG"), ("mp4", "mp4v"), ("mkv", "mp4v")):
        writer = cv2.VideoWriter(
            str(folder / f"a.{suffix}"), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 30, (48, 32)
        )
        for index in range(4):
            writer.write(np.full((32, 48, 3), 60 * index, np.uint8))
        writer.release()
        made.append(folder / f"a.{suffix}")
    return made


def value_seeds(folder: Path) -> list[Path]:
    """Everything that holds JSON or YAML: texts, and the heads of safetensors."""
    return [*text_seeds(folder), *(path for path in weights_seeds(folder) if path.suffix == ".safetensors")]


def read_any_image(path: Path) -> None:
    """Size and mark first, as folders are searched; then the pixels, which are written in two formats."""
    read_size(path)
    restored_mark(path)
    image = replace(read_image(path), changed=True)
    suffixes = [".jpg", ".png", ".webp", ".avif", ".tif", ".bmp"]
    for suffix in {path.suffix if path.suffix in suffixes else ".jpg", suffixes[path.stat().st_size % len(suffixes)]}:
        for note in write_image(path.with_name(f"written{suffix}"), image):
            check_line(UserError(note))


def read_any_weights(path: Path) -> None:
    """As a network, an adapter, a state and plain tensors; some of them it is not."""
    with_each(path, lambda path: load_network(path).explain(), Adapter.load, read_state, read_tensors)


def read_any_text(path: Path) -> None:
    """By its name."""
    if path.name == MANIFEST:
        with_each(
            path.parent, read_manifest, find_triplets, find_pairs, lambda folder: Manifest(folder, dict(SETTINGS))
        )
    elif path.name == LEARNED:
        read_learned(path.with_suffix(".safetensors"))
    elif path.suffix == ".json":
        write_report([path], path.with_name("report"))
    else:
        checked(TrainConfig, read_yaml(path))


def read_any_video(path: Path) -> None:
    """Every frame, past what is damaged, by either decoder."""
    for _ in decode_by_opencv(path, []):
        pass
    for _ in read_frames(find_videos([path])[0], on_bad="skip", tell=lambda line: check_line(UserError(line))):
        pass


def read_any_values(path: Path) -> None:
    """As what it is."""
    (read_any_weights if path.suffix == ".safetensors" else read_any_text)(path)


def with_each(path: Path, *readers: Callable[[Path], Any]) -> None:
    """Read a file in several ways; refused is what none of them reads."""
    refused: list[UserError] = []
    for read in readers:
        try:
            read(path)
        except UserError as error:
            check_line(error)
            refused.append(error)
    if len(refused) == len(readers):
        raise refused[0]


def spoil_values(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three values of a JSON or YAML text become other ones, go, or come twice; it stays JSON or YAML."""
    if content[8:9] == b"{":
        stop = 8 + int.from_bytes(content[:8], "little")
        head = json.loads(content[8:stop])
        info = head.get("__metadata__", {})
        key = next(iter(info), None)
        if key and rng.random() < 0.7:
            info[key] = spoil_values(info[key].encode(), rng).decode()
        else:
            _change(head, rng)
        packed = json.dumps(head).encode()
        return len(packed).to_bytes(8, "little") + packed + content[stop:]
    if not content.startswith(b"{"):
        settings = yaml.safe_load(content)
        _change(settings, rng)
        return yaml.safe_dump(settings).encode(errors="surrogatepass")
    rows = [json.loads(line) for line in content.splitlines()]
    _change(rows[int(rng.integers(len(rows)))], rng)
    return "\n".join(map(json.dumps, rows)).encode()


def _change(whole: dict[str, Any], rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 4))):
        groups = list(_groups(whole))
        group = groups[int(rng.integers(len(groups)))]
        if not group:
            continue
        key = list(group if isinstance(group, dict) else range(len(group)))[int(rng.integers(len(group)))]
        match int(rng.integers(4)):
            case 0:
                del group[key]
            case 1 if isinstance(group, dict):
                group[str(VALUES[int(rng.integers(len(VALUES)))])] = group[key]
            case _:
                group[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])


def _groups(value: Any) -> Iterator[Any]:
    """A value's dictionaries and lists, however deep."""
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _groups(inner)


def spoil(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits and bytes, cuts, doubled and moved stretches, tokens, lengths."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        at = int(rng.integers(len(data))) if rng.random() < 0.6 else int(rng.integers(min(len(data), 200)))
        length = int(min(rng.geometric(0.1), len(data) - at))
        match int(rng.integers(8)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = INTERESTING[int(rng.integers(len(INTERESTING)))]
            case 2:
                del data[at:]
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case 5:
                data[at : at + length] = rng.bytes(length)
            case 6:
                data[at : at + length] = TOKENS[int(rng.integers(len(TOKENS)))]
            case _:
                size = int(rng.choice([2, 4, 8]))
                data[at : at + size] = int(rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF])).to_bytes(
                    8, rng.choice(["big", "little"])
                )[:size]
    return bytes(data)


KINDS: dict[str, tuple[Seeds, Callable[[Path], None], Callable[[bytes, np.random.Generator], bytes]]] = {
    "image": (image_seeds, read_any_image, spoil),
    "weights": (weights_seeds, read_any_weights, spoil),
    "text": (text_seeds, read_any_text, spoil),
    "video": (video_seeds, read_any_video, spoil),
    "values": (value_seeds, read_any_values, spoil_values),
}


def check_line(error: UserError) -> None:
    """A user's error is one line that a person can read."""
    text = str(error)
    assert text.strip(), "an error without a text"
    assert "\n" not in text, f"an error of more than one line: {text!r}"
    assert len(text) < 1500, f"an error of {len(text)} letters: {text[:200]!r}"


def try_one(kind: str, seeds: list[Path], number: int, folder: Path) -> Literal["read", "refused"]:
    """Read seed file ``number`` of a kind, spoiled; anything but a UserError is raised."""
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    seed = seeds[int(rng.integers(len(seeds)))]
    path = folder / seed.name
    _, read, change = KINDS[kind]
    content = change(seed.read_bytes(), rng)
    if number % ERASED_EVERY == ERASED_EVERY - 1:
        content = content[: len(content) // 2] + (b"\xff" if number % 2 else b"\0") * ERASED_BYTES
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        check_line(error)
        return "refused"
    return "read"


__all__ = ["KINDS", "check_line", "spoil", "try_one"]
