"""Files of every kind that is read here, ways to spoil them, and the readers that must refuse them in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import torch
from PIL import Image as PilImage
from safetensors.torch import save

from tfmlc.config import checked, read_yaml
from tfmlc.data.datasets.pairs import find_pairs
from tfmlc.data.datasets.triplets import find_triplets
from tfmlc.data.synthesis.manifest import MANIFEST, read_manifest
from tfmlc.errors import UserError
from tfmlc.evaluation.report import read_scores
from tfmlc.io.checkpoint import read_tensors
from tfmlc.io.images import Image, read_image, read_size, write_image
from tfmlc.io.video import find_videos, read_frames
from tfmlc.losses import Adapter
from tfmlc.networks import build_network, load_network, save_network
from tfmlc.training.state import read_state
from tfmlc.training.train import TrainConfig

SIZE = (24, 17)
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
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def image_seeds(folder: Path) -> list[Path]:
    """A small file of every image format, depth and kind of pixels."""
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
    return [
        *made,
        *(folder / n for n in ("float.tif", "planar.tif", "palette.png", "cmyk.jpg", "bits.tif", "lossless.webp")),
    ]


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
    """A manifest, scores and a recipe."""
    rows = [
        {"settings": {"kind": "triplets", "folders": ["sharp", "weak", "strong"], "levels": 2}},
        {"name": "a/000001.png", "video": "a", "files": {"sharp/a/000001.png": "0" * 64}, "displacement_px": 26.5},
    ]
    for name in ("sharp", "weak", "strong"):
        write_image(folder / name / "a" / "000001.png", Image(np.zeros((4, 4, 3), np.uint8)))
    (folder / MANIFEST).write_text("\n".join(map(json.dumps, rows)) + "\n")
    row = {"psnr": 25.0, "ssim": 0.9}
    scores = {
        "format": 1, "model": "default", "dataset": "pairs", "images": 1, "mean": row, "per_image": {"a.png": row},
        "not_finite": {}, "protocols": ["gopro-hinet"], "commit": "0", "device": "cpu",
    }  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "recipe.yaml").write_text(
        "network: {name: hinet, sizes: {width: 8}}\nloop: {steps: 8, betas: [0.9, 0.99]}\n"
    )
    return [folder / MANIFEST, folder / "scores.json", folder / "recipe.yaml"]


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


def read_any_image(path: Path) -> None:
    """Size first, as folders are searched; then the pixels."""
    for read in (read_size, read_image):
        read(path)


def read_any_weights(path: Path) -> None:
    """As a network, an adapter, a state and plain tensors."""
    refused: list[UserError] = []
    readers: list[Callable[[Path], Any]] = [load_network, Adapter.load, read_state, read_tensors]
    for read in readers:
        try:
            read(path)
        except UserError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def read_any_text(path: Path) -> None:
    """By its name."""
    if path.name == MANIFEST:
        for read in (read_manifest, find_triplets, find_pairs):
            try:
                read(path.parent)
            except UserError as error:
                check_line(error)
    elif path.suffix == ".json":
        read_scores(path)
    else:
        checked(TrainConfig, read_yaml(path))


def read_any_video(path: Path) -> None:
    """Every frame, past what is damaged."""
    for _ in read_frames(find_videos([path])[0], on_bad="skip"):
        pass


KINDS: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path], None]]] = {
    "image": (image_seeds, read_any_image),
    "weights": (weights_seeds, read_any_weights),
    "text": (text_seeds, read_any_text),
    "video": (video_seeds, read_any_video),
}


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


def check_line(error: UserError) -> None:
    """A user's error is one line that a person can read."""
    text = str(error)
    assert text.strip(), "an error without a text"
    assert "\n" not in text, f"an error of more than one line: {text!r}"
    assert len(text) < 1500, f"an error of {len(text)} letters: {text[:200]!r}"


def try_one(kind: str, seeds: list[Path], number: int, folder: Path) -> Path:
    """Read seed file ``number`` of a kind, spoiled; anything but a UserError is raised. Returns the file."""
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    seed = seeds[int(rng.integers(len(seeds)))]
    path = folder / seed.name
    path.write_bytes(spoil(seed.read_bytes(), rng))
    try:
        KINDS[kind][1](path)
    except UserError as error:
        check_line(error)
    return path


__all__ = ["KINDS", "check_line", "spoil", "try_one"]
