"""The three kinds of backbone: vision transformers, CLIP's ResNets and plain stacks of convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tfmlc.backbones.backbone import Backbone, ImageStatistics
from tfmlc.backbones.frozen import QuickGeluMlp, SelfAttention
from tfmlc.backbones.student import Student

CLIP_STATISTICS: ImageStatistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET_STATISTICS: ImageStatistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Names of OpenAI's image tower without a prefix; timm's conversion expects ``visual.`` before them.
OPENAI_MARKS = ("class_embedding", "conv1.weight")


class VisionTransformer(Backbone):
    """A vision transformer of timm; its blocks are the residual attention blocks."""

    tower: Any  # timm types its parts as Module or Tensor

    def __init__(self, timm_name: str, *, embedding: int, statistics: ImageStatistics) -> None:
        import timm

        tower: Any = timm.create_model(timm_name, num_classes=embedding, dynamic_img_size=True)
        for residual in tower.blocks:
            if type(residual.mlp.act).__name__ == "QuickGELU":
                residual.mlp = QuickGeluMlp(residual.mlp)
            if {name.split(".")[0] for name, _ in residual.attn.named_parameters()} == {"qkv", "proj"}:
                residual.attn = SelfAttention(residual.attn)
        patch_px = int(tower.patch_embed.patch_size[0])
        super().__init__(tower, blocks=len(tower.blocks), patch_px=patch_px, statistics=statistics)

    def _features(self, images: Tensor, block: int) -> Tensor:
        tokens: Tensor = self.tower.norm_pre(self.tower._pos_embed(self._embed_patches(images)))
        for residual in self.tower.blocks[: block + 1]:
            tokens = residual(tokens)
        return tokens

    def _embed_patches(self, images: Tensor) -> Tensor:
        """Embed the patches, ``b h w d``, by a matrix product, whose gradient is much faster than a convolution's."""
        convolution: nn.Conv2d = self.tower.patch_embed.proj
        batch, channels, height, width = images.shape
        side = self.patch_px
        patches = images.view(batch, channels, height // side, side, width // side, side)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // side, width // side, -1)
        return nn.functional.linear(patches, convolution.weight.flatten(1), convolution.bias)

    def _embedding(self, images: Tensor) -> Tensor:
        return self.tower(images)

    def _drop_after(self, block: int) -> None:
        tower = self.tower
        tower.blocks, tower.norm, tower.fc_norm, tower.head = tower.blocks[: block + 1], None, None, None


class ClipResNet(Backbone):
    """CLIP's modified ResNet in timm; its blocks are the four stages, its embedding is the attention pool."""

    tower: Any  # timm types its parts as Module or Tensor

    def __init__(self, timm_name: str, *, embedding: int, statistics: ImageStatistics) -> None:
        import timm

        tower: Any = timm.create_model(timm_name, num_classes=embedding)
        super().__init__(tower, blocks=len(tower.stages), patch_px=32, statistics=statistics)

    def _features(self, images: Tensor, block: int) -> Tensor:
        features: Tensor = self.tower.stem(images)
        for stage in self.tower.stages[: block + 1]:
            features = stage(features)
        return features

    def _embedding(self, images: Tensor) -> Tensor:
        return self.tower(images)

    def _drop_after(self, block: int) -> None:
        tower = self.tower
        tower.stages, tower.final_conv, tower.head = tower.stages[: block + 1], None, None


class ConvolutionStack(Backbone):
    """The convolutions of torchvision's VGG16 or AlexNet; each block ends with a ReLU, before an index of ``ends``.

    The convolutions have no embedding, so ``"final"`` is the mean of the last block over the image.
    """

    tower: nn.Sequential

    def __init__(
        self, torchvision_name: str, *, ends: tuple[int, ...], patch_px: int, least_px: int, statistics: ImageStatistics
    ) -> None:
        import torchvision

        model: Any = torchvision.models.get_model(torchvision_name, weights=None)
        layers: nn.Sequential = model.features
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        super().__init__(layers[: ends[-1]], blocks=len(ends), patch_px=patch_px, statistics=statistics)
        self.ends, self.least_px = ends, least_px

    def extra_repr(self) -> str:
        """Show where the blocks end, in addition to the base class."""
        return f"{super().extra_repr()}, ends={self.ends}, least_px={self.least_px}"

    def _features(self, images: Tensor, block: int) -> Tensor:
        missing = [max(0, self.least_px - side) for side in images.shape[-2:]]
        if any(missing):
            images = nn.functional.pad(images, (0, missing[1], 0, missing[0]), mode="replicate")
        layers = self.tower[: self.ends[block]]
        return layers(images)

    def _embedding(self, images: Tensor) -> Tensor:
        return self._features(images, self.blocks - 1).mean(dim=(2, 3))

    def _drop_after(self, block: int) -> None:
        self.tower = self.tower[: self.ends[block]]


def tower_tensors(backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select a file's tensors of the image tower, in float32 and under the tower's names.

    Understands the names of OpenAI and open_clip (with or without ``visual.``, or under ``clip.``), timm,
    torchvision and DINOv2.
    """
    state = {name.removeprefix("clip."): value.float() for name, value in tensors.items()}
    if isinstance(backbone, Student):
        return state
    if isinstance(backbone, ConvolutionStack):
        return {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    if any(mark in state for mark in OPENAI_MARKS):
        state = {f"visual.{name}": value for name, value in state.items()}
    from timm.models import byobnet, vision_transformer

    source = vision_transformer if isinstance(backbone, VisionTransformer) else byobnet
    with torch.no_grad():
        tower: Any = backbone.tower
        return source.checkpoint_filter_fn(state, tower)
