"""The table of backbones: how each is built and where its official weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tfmlc.backbones.backbone import Backbone, Block
from tfmlc.backbones.student import Student
from tfmlc.backbones.towers import (
    CLIP_STATISTICS,
    IMAGENET_STATISTICS,
    ClipResNet,
    ConvolutionStack,
    VisionTransformer,
    tower_tensors,
)
from tfmlc.errors import UserError, unknown_name
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors, tensors_sha256
from tfmlc.io.weights import Download, find_weights

RANDOM = "random"
OPENAI = "https://openaipublic.azureedge.net/clip/models"
DINOV2_SHA256 = "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
ALEXNET_SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"


@dataclass(frozen=True)
class Row:
    """One backbone of the table.

    Attributes:
        build: Builds the backbone with random weights.
        download: The official weights: address, checksum and licence.
        paper: The publication.
    """

    build: Callable[[], Backbone]
    download: Download
    paper: str


def _openai(sha256: str, file: str) -> Download:
    return Download(f"{OPENAI}/{sha256}/{file}", sha256, "MIT")


_vit = partial(VisionTransformer, statistics=CLIP_STATISTICS)
_resnet = partial(ClipResNet, statistics=CLIP_STATISTICS)
CLIP = "Radford et al., ICML 2021"

BACKBONES: dict[str, Row] = {
    "clip-rn50": Row(
        partial(_resnet, "resnet50_clip", embedding=1024),
        _openai("afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", "RN50.pt"),
        CLIP,
    ),
    "clip-rn101": Row(
        partial(_resnet, "resnet101_clip", embedding=512),
        _openai("8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", "RN101.pt"),
        CLIP,
    ),
    "clip-vit-b32": Row(
        partial(_vit, "vit_base_patch32_clip_quickgelu_224", embedding=512),
        _openai("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "ViT-B-32.pt"),
        CLIP,
    ),
    "clip-vit-b16": Row(
        partial(_vit, "vit_base_patch16_clip_quickgelu_224", embedding=512),
        _openai("5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "ViT-B-16.pt"),
        CLIP,
    ),
    "clip-vit-l14": Row(
        partial(_vit, "vit_large_patch14_clip_quickgelu_224", embedding=768),
        _openai("b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "ViT-L-14.pt"),
        CLIP,
    ),
    "dinov2-vit-s14": Row(
        partial(VisionTransformer, "vit_small_patch14_dinov2", embedding=0, statistics=IMAGENET_STATISTICS),
        Download(
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
            DINOV2_SHA256,
            "Apache-2.0",
        ),
        "Oquab et al., TMLR 2024",
    ),
    "dinov2-student": Row(
        partial(Student, 384, statistics=IMAGENET_STATISTICS),
        Download("dinov2-student.safetensors", "", "Apache-2.0"),
        "distilled from block 3 of dinov2-vit-s14",
    ),
    "vgg16": Row(  # blocks end at relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
        partial(
            ConvolutionStack, "vgg16", ends=(4, 9, 16, 23, 30), patch_px=16, least_px=16, statistics=IMAGENET_STATISTICS
        ),
        Download("https://download.pytorch.org/models/vgg16-397923af.pth", VGG16_SHA256, "BSD-3-Clause"),
        "Simonyan and Zisserman, ICLR 2015",
    ),
    "alexnet": Row(  # blocks end at relu1 to relu5; its pools need at least 63 px
        partial(
            ConvolutionStack, "alexnet", ends=(2, 5, 8, 10, 12), patch_px=1, least_px=63, statistics=IMAGENET_STATISTICS
        ),
        Download("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", ALEXNET_SHA256, "BSD-3-Clause"),
        "Krizhevsky, 2014",
    ),
}


def build_backbone(
    name: str, weights: str | Path | None = "hub", *, last_block: Block = "final", seed: int = 0
) -> Backbone:
    """Build a frozen backbone by name.

    Args:
        name: A row of ``BACKBONES``: ``"clip-rn50"``, ``"clip-rn101"``, ``"clip-vit-b32"``, ``"clip-vit-b16"``,
            ``"clip-vit-l14"``, ``"dinov2-vit-s14"``, ``"dinov2-student"``, ``"vgg16"`` or ``"alexnet"``.
        weights: A file of OpenAI (``.pt``, also TorchScript archives), open_clip, timm or torchvision. ``"hub"``
            takes the official weights: from the folder that the environment variable ``TFMLC_WEIGHTS`` names, else
            from torch's cache, else it downloads them and checks their sha256. Those of ``"dinov2-student"`` ship with
            the package. None or ``"random"`` gives random weights.
        last_block: The last block that is needed; later ones are not kept in memory.
        seed: The seed of random weights.

    Returns:
        The backbone, frozen and in evaluation mode.

    Raises:
        UserError: If the name is unknown, the backbone does not have the block, or the weights are not available or
            do not fit.

    References:
        CLIP: Radford et al., ICML 2021. DINOv2: Oquab et al., TMLR 2024. VGG: Simonyan and Zisserman, ICLR 2015.
        AlexNet: Krizhevsky, 2014.

    Example:
        >>> backbone = build_backbone("dinov2-vit-s14", weights=None, last_block=3)
        >>> backbone(torch.rand(1, 3, 30, 40), block=3).shape
        torch.Size([1, 10, 384])
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    row = BACKBONES[name]
    if weights in (None, RANDOM):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = row.build().float()  # the default dtype can be another
        backbone.info = CheckpointInfo("backbone", name)
    else:
        path = find_weights(name, row.download) if weights == "hub" else Path(weights)
        backbone = _pretrained(name, row, path)
    backbone.drop_after(last_block)
    return backbone


def _pretrained(name: str, row: Row, path: Path) -> Backbone:
    """Build a backbone with the weights of a file."""
    tensors, info = read_tensors(path)
    with torch.device("meta"):  # shapes only: drawing random weights would take time
        backbone = row.build()
    used = _fitting(backbone, name, path, tensors)
    backbone.tower.load_state_dict(used, assign=True)
    backbone.requires_grad_(False)
    licence = info.licence or row.download.licence
    backbone.info = CheckpointInfo("backbone", name, {}, info.origin or path.name, licence, tensors_sha256(used))
    return backbone


def _fitting(backbone: Backbone, name: str, path: Path, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the file's tensors that belong to the tower; raises UserError if one is missing or does not fit."""
    try:
        found = tower_tensors(backbone, tensors)
    except (KeyError, RuntimeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} does not hold {name}: {str(error).splitlines()[0]}") from error
    used: dict[str, Tensor] = {}
    for key, value in backbone.tower.state_dict().items():
        if key.endswith("num_batches_tracked"):
            used[key] = torch.zeros((), dtype=torch.long)
        elif key not in found:
            raise UserError(f"{path} does not hold {name}: it lacks {key}")
        elif found[key].shape != value.shape:
            shapes = f"{tuple(found[key].shape)}, not {tuple(value.shape)}"
            raise UserError(f"{path} does not hold {name}: {key} is {shapes}")
        else:
            used[key] = found[key].contiguous()
    broken = [key for key, value in used.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise UserError(f"{path} has values that are not finite in {broken[0]} and {len(broken) - 1} more tensors")
    return used
