"""The hooks of a training run: validation with sample images, and the export of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from tfmlc.config import Config
from tfmlc.data.datasets.choice import evenly
from tfmlc.data.datasets.pairs import BlurKind, Pair, chosen_pairs, find_pairs, read_pair
from tfmlc.errors import UserError
from tfmlc.io.images import Image, write_image
from tfmlc.io.images.tensors import to_tensor
from tfmlc.metrics.registry import METRICS, check_available, score_images
from tfmlc.networks import Network, save_network
from tfmlc.runtime.device import autocast
from tfmlc.training.loop import Hook, Loop

SAMPLES = 3


class ValidationConfig(Config):
    """The settings of the validation during a run.

    Use pairs that are neither trained on nor used for the final scores.
    """

    pairs: Path | None = Field(default=None, description="folder of pairs; None: no validation")
    only: list[str] = Field(default_factory=list[str], description="name patterns of the pairs to use; empty: all")
    blur_kind: BlurKind | None = Field(default=None, description="GoPro only: blur or blur_gamma; None: data.blur_kind")
    every_steps: int = Field(default=1000, ge=1, description="steps between two validations; one more is at the end")
    images: int = Field(default=8, ge=1, description="number of images, spread evenly over the folder")
    crop_px: int = Field(default=512, ge=16, description="side of the central crop of each image")
    metrics: list[str] = Field(
        default=["psnr"], min_length=1, description="metrics to compute; the first one determines the best weights"
    )

    def find_pairs(self, blur_kind: BlurKind) -> list[Pair]:
        """Return the pairs to use, of the given kind if the settings have none; raises UserError if there are none."""
        if self.pairs is None:
            return []
        pairs = chosen_pairs(find_pairs(self.pairs, blur=self.blur_kind or blur_kind), self.only)
        if not pairs:
            raise UserError(f"the patterns validation.only={self.only} match no pair of {self.pairs}: change them")
        return pairs


class Export(Hook):
    """Writes the averaged weights to a file after every saved state.

    Args:
        path: The file.
        network: A network of the same architecture, which gets the averaged weights.
        licence: The licence of the weights, stored with them.
    """

    def __init__(self, path: Path, network: Network, licence: str) -> None:
        super().__init__()
        self.path, self.network, self.licence = path, network, licence

    def after_save(self, loop: Loop) -> None:
        """Write the weights."""
        network = average(loop, self.network)  # every process must call this
        if loop.accelerator.is_main_process:
            origin = _origin(network, f"{loop.step} of {loop.config.steps} steps")
            save_network(self.path, network, origin=origin, licence=self.licence)


class Validation(Hook):
    """Scores the averaged weights on validation pairs, every ``every_steps`` and at the last step.

    The folder of the run gets ``samples/step-STEP-NUMBER.png`` (blurry, restored and sharp side by side) and, whenever
    the first metric improves, ``best.safetensors``. The trackers and the state of the run get the scores.

    Args:
        config: The settings of the validation.
        network: A network of the same architecture, which gets the averaged weights.
        licence: The licence of the weights, stored with them.
        blur_kind: GoPro's kind of blur, if the settings of the validation have none.

    Raises:
        UserError: If a metric is not available, or the pairs cannot be read.
    """

    def __init__(self, config: ValidationConfig, network: Network, licence: str, blur_kind: BlurKind = "blur") -> None:
        super().__init__()
        self.config, self.network, self.licence = config, network, licence
        self.state = {"scores": []}
        self.images: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        if config.pairs is not None:
            check_available(config.metrics)
            pairs = config.find_pairs(blur_kind)
            self.images = [centred(read_pair(pair), config.crop_px) for pair in evenly(pairs, config.images)]

    def after_step(self, loop: Loop) -> None:
        """Validate if there are pairs, and the step is a multiple of ``every_steps`` or the last one."""
        if not self.images or (loop.step % self.config.every_steps and loop.step < loop.config.steps):
            return
        network = average(loop, self.network)  # every process must call this
        if not loop.accelerator.is_main_process:
            return
        restored = [restore(network, blurry, loop) for blurry, _ in self.images]
        rows = [
            score_images(image, sharp, self.config.metrics)
            for image, (_, sharp) in zip(restored, self.images, strict=True)
        ]
        scores = {name: float(np.mean([row[name] for row in rows])) for name in self.config.metrics}
        loop.accelerator.log({f"validation/{name}": value for name, value in scores.items()}, step=loop.step)
        self._show(restored, loop)
        if self._is_best(scores):
            described = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            origin = _origin(network, f"step {loop.step}, {described}")
            save_network(loop.folder / "best.safetensors", network, origin=origin, licence=self.licence)
        self.state["scores"].append({"step": loop.step, **{name: round(value, 5) for name, value in scores.items()}})

    def _is_best(self, scores: dict[str, float]) -> bool:
        decisive = self.config.metrics[0]
        sign = 1 if METRICS[decisive].higher_is_better else -1
        return all(sign * scores[decisive] > sign * row[decisive] for row in self.state["scores"])

    def _show(self, restored: Sequence[NDArray[np.uint8]], loop: Loop) -> None:
        for number, (image, (blurry, sharp)) in enumerate(zip(restored[:SAMPLES], self.images, strict=False), 1):
            sample = np.concatenate([blurry, image, sharp], axis=1)
            path = loop.folder / "samples" / f"step-{loop.step:06d}-{number}.png"
            path.parent.mkdir(exist_ok=True)
            write_image(path, Image(sample))
            for tracker in cast("list[Any]", loop.accelerator.trackers):
                settings: dict[str, Any] = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({f"blurry, restored, sharp {number}": sample[None]}, step=loop.step, **settings)


def _origin(network: Network, how_long: str) -> str:
    """Describe a training; what it started from stays named, because its licence can ask for that."""
    return f"trained by tfmlc, {how_long}" + (f", from {network.info.origin}" if network.info.origin else "")


def average(loop: Loop, network: Network) -> Network:
    """Load the averaged weights of a run into a network of the same architecture, and return it."""
    state = {name.removeprefix("network."): value for name, value in loop.averaged_state().items()}
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith("heads.")})
    return network


def restore(network: nn.Module, blurry: NDArray[np.uint8], loop: Loop) -> NDArray[np.uint8]:
    """Restore an image, uint8 ``h w 3``, in the precision of the run."""
    device = loop.accelerator.device
    with torch.no_grad(), autocast(device, loop.precision):
        image = network.to(device).eval()(to_tensor(blurry)[None].to(device))[-1][0].float().cpu()
    return np.rint(image.clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def centred(
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]], side_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Crop both images of a pair around their centre, to at most ``side_px`` on a side.

    >>> image = np.zeros((40, 60, 3), np.uint8)
    >>> [crop.shape for crop in centred((image, image), 50)]
    [(40, 50, 3), (40, 50, 3)]
    """
    height, width = images[0].shape[:2]
    top, left = max(0, (height - side_px) // 2), max(0, (width - side_px) // 2)
    blurry, sharp = (image[top : top + side_px, left : left + side_px] for image in images)
    return blurry, sharp
