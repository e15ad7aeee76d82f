"""Distillation: a small backbone learns to imitate the features of a large one on sharp, blurry and restored images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tfmlc.backbones import Backbone, build_backbone
from tfmlc.config import Config
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, write_checkpoint
from tfmlc.io.locks import run_lock
from tfmlc.io.weights import find_model
from tfmlc.networks import Network, load_network
from tfmlc.training.data import DataConfig, Draw, build_dataset
from tfmlc.training.hooks import Hook
from tfmlc.training.loop import Loop
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.machine import make_accelerator
from tfmlc.training.task import Task

MEASURED_CROPS = 64
STRONGEST = 1.6  # beyond 1 a restoration is exaggerated, so its artefacts are seen, too
UNBLURRED, DISTURBED = 0.3, 0.3  # fractions of the images
NOISE, MESH = 0.03, 0.05
SMALL = 1e-3  # a change of one thousandth of the variance of the features is none


class DistillConfig(Config):
    """The settings of a distillation."""

    student: str = Field(default="dinov2-student", description="backbone that learns")
    start: str = Field(default="random", description="weights of the student to start from: random, or a file")
    teacher: str = Field(default="dinov2-vit-s14", description="vision transformer whose features are imitated")
    weights: str = Field(default="hub", description="weights of the teacher: hub, a file, or random")
    block: int = Field(default=3, ge=0, description="block of the teacher, counted from zero")
    restored_by: str = Field(default="default-psnr", description="model that makes the restored images")
    data: DataConfig = DataConfig(patch_px=154)
    loop: LoopConfig = LoopConfig()
    attribution: str = Field(default="", description="what the data's licences ask to name, stored with the weights")
    licence: str = Field(default="Apache-2.0", description="licence of the weights, stored with them")


def distill(config: DistillConfig, folder: Path) -> Path:
    """Teach a small backbone the features of a large one. An unfinished run in the folder is resumed.

    The student learns the teacher's features of sharp images and, with the same weight, how they change when the image
    is blurry, restored or disturbed, because a loss compares two versions of one image. What the teacher's features
    owe to their place in the image is subtracted, because a convolution cannot know its place.

    Args:
        config: The settings.
        folder: The folder of the run.

    Returns:
        The file of the student's weights.

    Raises:
        UserError: If the patches are not a multiple of the teacher's, or data or weights are missing.
    """
    with run_lock(folder):
        teacher = build_backbone(config.teacher, config.weights, last_block=config.block)
        if config.data.patch_px % teacher.patch_px:
            raise UserError(f"data.patch_px={config.data.patch_px} must be a multiple of {teacher.patch_px}")
        dataset = build_dataset(config.data, Draw(config.loop.steps * config.loop.batch_size, config.loop.seed), folder)
        student = build_backbone(config.student, config.start, seed=config.loop.seed)
        student.requires_grad_(True)
        accelerator = make_accelerator(config.loop, folder)
        device = accelerator.device
        crops = torch.stack([dataset[index][1] for index in range(MEASURED_CROPS)]).to(device)
        network = load_network(find_model(config.restored_by)).to(device)
        imitation = Imitation(teacher.to(device), config.block, network, crops)
        export = _Export(folder / "weights.safetensors", config)
        recipe = config.model_dump(mode="json", exclude={"loop", "attribution", "licence"})
        task = Task(student, imitation, dataset)
        loop = Loop(task, config.loop, folder, hooks=[export], recipe=recipe, accelerator=accelerator).resume()
        loop.run()
        export.after_save(loop)
        return export.path


class Imitation:
    """The objective of a distillation: how far a student's features are from those of its teacher.

    Args:
        teacher: The teacher, a vision transformer with one class token.
        block: The block of the teacher.
        network: The network that makes the restored images.
        crops: Sharp crops on which the mean of the teacher's features at each place and their variance are measured.
    """

    def __init__(self, teacher: Backbone, block: int, network: Network, crops: Tensor) -> None:
        self.teacher, self.block, self.network = teacher, block, network.requires_grad_(False)
        with torch.no_grad():
            parts: Sequence[Tensor] = torch.split(crops, 8)
            tokens = torch.cat([teacher(part, block)[:, 1:] for part in parts])
        self.place = tokens.mean(dim=0)
        self.variance = (tokens - self.place).square().mean(dim=(0, 1))

    def __call__(self, student: nn.Module, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        blurry, sharp = batch[:2]
        with torch.no_grad():
            images = torch.cat([sharp, self._partner(blurry, sharp)])
            wanted = (self.teacher(images, self.block)[:, 1:] - self.place) / self.variance.sqrt()
        found = self._at_patches(student, images)
        squares = (found - wanted).square().mean()
        changes, wanted_changes = (part[len(sharp) :] - part[: len(sharp)] for part in (found, wanted))
        errors, sizes = (part.square().mean(dim=(1, 2)) for part in (changes - wanted_changes, wanted_changes))
        missed = (errors / (sizes + SMALL)).mean()  # relative, so that a faint mesh counts as much as a strong blur
        return {"loss": squares + missed, "features": squares.detach(), "changes": missed.detach()}

    def _at_patches(self, student: nn.Module, images: Tensor) -> Tensor:
        """Return the student's features at the centres of the teacher's patches, ``b n d``."""
        plain: Any = getattr(student, "module", student)
        left, top = (int(torch.randint(plain.patch_px, ())) for _ in range(2))
        padded = nn.functional.pad(images, (left, 0, top, 0), mode="reflect")
        features: Tensor = student(padded, plain.blocks - 1)
        side, count = self.teacher.patch_px, images.shape[-1] // self.teacher.patch_px
        centres = torch.arange(count, device=images.device) * side + side / 2
        height, width = (features.shape[axis] * plain.patch_px for axis in (-2, -1))
        y, x = torch.meshgrid((centres + top) / height, (centres + left) / width, indexing="ij")
        grid = torch.stack([x, y], dim=-1)[None].expand(len(images), -1, -1, -1) * 2 - 1
        return nn.functional.grid_sample(features, grid, align_corners=False).flatten(2).transpose(1, 2)

    def _partner(self, blurry: Tensor, sharp: Tensor) -> Tensor:
        """Return another version of each sharp image: blurry, restored more or less strongly, noisy or with a mesh."""
        count, device = len(sharp), sharp.device
        draw = torch.rand(4, count, 1, 1, 1, device=device)
        restored = blurry + draw[0] * STRONGEST * (self.network(blurry)[-1] - blurry)
        images = torch.where(draw[1] < UNBLURRED, sharp, restored)
        noise = NOISE * draw[3] * torch.randn_like(images)
        period = int(torch.randint(2, 9, ()))
        cell = torch.randn(count, 1, period, period, device=device)
        tiles = [-(-side // period) for side in images.shape[-2:]]
        mesh = MESH * draw[3] * cell.repeat(1, 1, tiles[0], tiles[1])[..., : images.shape[-2], : images.shape[-1]]
        disturbance = torch.where(draw[2] < DISTURBED, noise, torch.where(draw[2] > 1 - DISTURBED, mesh, 0 * mesh))
        return (images + disturbance).clamp(0, 1)


class _Export(Hook):
    """Writes the student's averaged weights."""

    def __init__(self, path: Path, config: DistillConfig) -> None:
        super().__init__()
        self.path, self.config = path, config

    def after_save(self, loop: Loop) -> None:
        config = self.config
        tensors = {name.removeprefix("tower."): value.half() for name, value in loop.ema.items()}
        origin = f"distilled by tfmlc from {config.teacher} block {config.block}"
        origin += f"; {config.attribution}" if config.attribution else ""
        write_checkpoint(self.path, tensors, CheckpointInfo("backbone", config.student, {}, origin, config.licence))
