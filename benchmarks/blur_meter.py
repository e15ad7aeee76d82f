"""Make the weights of the measure of blurriness: a small head on layers of a spectral U-Net, fitted on synthetic blur.

python benchmarks/blur_meter.py spectral-unet.safetensors ../shared/data/sharp_train
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tfmlc.data.synthesis.blur import BlurConfig, BlurRecord, blur_image
from tfmlc.data.synthesis.camera_motion import Trajectory
from tfmlc.deblur.blur_meter import CELL_PX, LONGEST_PX, WEIGHTS, BlurMeter, weights_of
from tfmlc.io.checkpoint import CheckpointInfo, write_checkpoint
from tfmlc.io.images import find_images, read_rgb8
from tfmlc.io.images.tensors import to_tensor
from tfmlc.io.weights import find_model
from tfmlc.networks import load_network
from tfmlc.runtime.progress import Progress

CALIBRATED_PX = (4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
LENGTHS_PX = (0, 0, 2, 3, 4, 6, 8, 11, 14, 18, 24, 32)
SIDE_PX, MARGIN_PX = 448, 32
STEPS, CELLS = 4000, 2048
MOST_WEIGHT = 5.0  # of a cell, relative to the mean


def paths_px(motion: Trajectory, rows: int, columns: int) -> np.ndarray:
    """The length of the path of the centre of each cell, in px."""
    y, x = np.mgrid[:rows, :columns] * CELL_PX + (CELL_PX - 1) / 2 + MARGIN_PX
    moved = motion.homographies() @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    moved = moved[:, :2] / moved[:, 2:]
    return np.linalg.norm(np.diff(moved, axis=0), axis=1).sum(axis=0)


def examples(meter: BlurMeter, photos: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Features of the cells of blurred crops, ``n 76``, and true lengths, ``n``; half of the motions are straight."""
    files = find_images(photos)
    with Progress("photos", len(files)) as progress:
        for number, (path, _) in enumerate(files):
            photo = read_rgb8(path)
            for order, length in enumerate(LENGTHS_PX):
                blurry, record = blurred(photo, length, np.random.default_rng((number, order)))
                rows, columns = (side // CELL_PX for side in blurry.shape[:2])
                with torch.inference_mode():
                    features = meter.features(to_tensor(blurry[: rows * CELL_PX, : columns * CELL_PX])[None])[0]
                yield features.flatten(1).T, torch.from_numpy(paths_px(record.trajectory, rows, columns)).float()
            progress.advance()


def blurred(photo: np.ndarray, length_px: float, rng: np.random.Generator) -> tuple[np.ndarray, BlurRecord]:
    """A crop of a photo, of half its size at random if it is large, with motion of a length, noise and JPEG."""
    halve = min(photo.shape[:2]) > 2 * SIDE_PX and rng.random() < 0.5
    crop = random_crop(halved(photo) if halve else photo, rng)
    straight = bool(rng.random() < 0.5)
    config = BlurConfig(
        strength_px=(max(length_px, 0.01),) * 2,
        exposure=(0.2, 0.2) if straight else (0.2, 1.2),
        turning=0 if straight else 1,
        moving_patches=(0, 0),
        light="mixed",
        read_noise=(0, 0.02),
        jpeg_quality=(60, 98) if rng.random() < 0.5 else None,
    )
    blurry, _, record = blur_image(crop, config, rng, margin_px=MARGIN_PX)
    return blurry, record


def calibrated(meter: BlurMeter, photos: Path) -> Tensor:
    """The median ratio of the true length to the median score of photos that are blurred by it."""
    meter.eval()
    ratios: list[float] = []
    files = find_images(photos)
    with Progress("calibration", len(CALIBRATED_PX)) as progress:
        for length in CALIBRATED_PX:
            scores: list[float] = []
            for number, (path, _) in enumerate(files):
                blurry, _ = blurred(read_rgb8(path), length, np.random.default_rng((number, int(length), 1)))
                rows, columns = (side // CELL_PX * CELL_PX for side in blurry.shape[:2])
                with torch.inference_mode():
                    found, weight = meter(to_tensor(blurry[:rows, :columns])[None])
                scores.append(float((found * weight).sum() / weight.sum()))
            ratios.append(length / float(np.median(scores)))
            progress.advance()
    return torch.tensor(float(np.median(ratios)))


def halved(photo: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in photo.shape[:2])
    blocks = photo[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)


def random_crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sides = [min(side, SIDE_PX) for side in photo.shape[:2]]
    top, left = (int(rng.integers(0, whole - side + 1)) for whole, side in zip(photo.shape[:2], sides, strict=True))
    return np.ascontiguousarray(photo[top : top + sides[0], left : left + sides[1]])


def fit(meter: BlurMeter, features: Tensor, lengths: Tensor) -> None:
    """Fit the head to the logarithm of the length; the standardisation of the features becomes part of its weights."""
    torch.manual_seed(0)
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-3
    target = torch.log1p(lengths.clamp(max=LONGEST_PX))
    weights = weights_of(features[:, :, None, None])[:, 0, 0].sqrt()
    weights = (weights / weights.mean()).clamp(max=MOST_WEIGHT)
    optimiser = torch.optim.AdamW(meter.length.parameters(), 5e-3, weight_decay=1e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=STEPS)
    for _ in range(STEPS):
        some = torch.randint(0, len(features), (CELLS,))
        found = meter.length(((features[some] - mean) / std)[:, :, None, None])[:, 0, 0, 0]
        loss = (weights[some] * (found - target[some]).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
    first = meter.length[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    with torch.no_grad():
        first.weight /= std[None, :, None, None]
        first.bias -= first.weight[:, :, 0, 0] @ mean


def main(model: str, photos: Path) -> None:
    network, meter = load_network(find_model(model)), BlurMeter()
    kept = {name: value for name, value in network.state_dict().items() if name.startswith(("code.", "motion."))}
    meter.load_state_dict(kept, strict=False)
    features, lengths = (torch.cat(parts) for parts in zip(*examples(meter, photos), strict=True))
    fit(meter, features.clone(), lengths)
    meter.scale = calibrated(meter, photos)
    origin = f"code and motion layers of {model} ({network.info.origin}); head: benchmarks/blur_meter.py"
    info = CheckpointInfo("measure", "blurriness", {}, origin, network.info.licence)
    write_checkpoint(WEIGHTS, {name: value.half() for name, value in meter.state_dict().items()}, info)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
