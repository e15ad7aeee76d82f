"""The feature matching loss, plain (FMLC) and adapted to blur (TFMLC) (ICIP 2023, equations 2 and 3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones import Backbone, Block, build_backbone
from tfmlc.checkpoint import Origin, read_tensors
from tfmlc.errors import UserError
from tfmlc.losses.adapter import Adapter

Images = Tensor | Sequence[Tensor]
Part = TypeVar("Part", bound=nn.Module)
FrozenParts = Callable[[torch.dtype], tuple[Backbone, Adapter | None]]
NATIVE_PX = 224
SHARP_TOLERANCE = 0.05
LARGEST_PRODUCT_PX = 512
RESTORED_TOLERANCE = 1.5  # single pixels of a network in training were seen 0.75 beyond


class FeatureMatchingLoss(nn.Module):
    """Mean squared error between features of the restored and of the sharp image.

    ``backbone`` and ``block`` say which features; with an ``adapter`` they are the adapter's outputs (TFMLC). The
    images are resized to ``size`` px (bicubic, no antialiasing, as the paper's code) or left at their own size,
    ``"native"``. ``normalize=False`` leaves out the backbone's mean and deviation, as the released loss does.
    ``reduction="none"`` gives one value an image. Neither backbone nor adapter is changed or trained, nor collects
    gradients; under autocast to 16 bits their weights are kept once in bf16.

    ``loss(restored, sharp)`` takes RGB in [0, 1], ``b 3 h w``; ``restored`` may be the tuple of a network's stages,
    whose losses are summed while the sharp image passes once. Raises ValueError for another shape, range,
    dtype, or values that are not finite.

    >>> loss = FeatureMatchingLoss(build_backbone("dinov2-vit-s14", weights=None), block=3, size="native")
    >>> sharp = torch.rand(2, 3, 32, 32)
    >>> float(loss(sharp, sharp)), tuple(loss.eval()((sharp, sharp), sharp).shape)
    (0.0, ())
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        block: Block = 3,
        adapter: Adapter | None = None,
        normalize: bool = True,
        size: int | Literal["native"] = NATIVE_PX,
        reduction: Literal["mean", "none"] = "mean",
    ) -> None:
        super().__init__()
        if backbone is None:
            raise UserError("no loss ships with this version: give a backbone, build_backbone('clip-vit-b16')")
        if reduction not in ("mean", "none"):
            raise UserError(f"reduction is 'mean' or 'none', not {reduction!r}")
        if size != "native" and not (isinstance(cast(object, size), int) and size > 0):
            raise UserError(f"size is a number of px or 'native', not {size!r}")
        backbone.check_block(block)
        if adapter is not None:
            _check_adapter(adapter, backbone, block)
        self.backbone, self.adapter = backbone, adapter
        self.block: Block = block
        self.normalize, self.reduction = normalize, reduction
        self.size: int | Literal["native"] = size
        self._frozen: dict[torch.dtype, tuple[object, Backbone, Adapter | None]] = {}

    @classmethod
    def load(cls, path: str | Path, *, weights: str | Path = "hub", **settings: Any) -> FeatureMatchingLoss:
        """Rebuild a TFMLC from an adapter's file, or from a checkpoint the paper's authors published.

        ``weights`` are the backbone's, as in ``build_backbone``; the authors' files hold them already, for CLIP
        ViT-B/16, block 3 and the flatten adapter. ``settings`` are those of the constructor.
        """
        tensors, about = read_tensors(Path(path))
        if any(name.startswith("mlp.") for name in tensors):
            backbone, block, adapter = _read_authors_file(Path(path), tensors)
        elif about.kind == "adapter":
            adapter = Adapter.from_tensors(Path(path), tensors, about)
            block = adapter.made_for.get("block", 3)
            backbone = build_backbone(about.name, weights, last_block=block)
            settings = {"size": adapter.made_for.get("size", NATIVE_PX), **settings}
        else:
            held = about.kind or f"tensors named {', '.join(list(tensors)[:3])}"
            raise UserError(f"{path} holds no adapter: {held}")
        return cls(backbone, block=block, adapter=adapter, **settings)

    def forward(self, restored: Images, sharp: Tensor) -> Tensor:
        stages = [restored] if isinstance(restored, Tensor) else list(restored)
        for stage in stages or [torch.empty(0)]:
            check_images(stage, sharp)
        with torch.no_grad():
            wanted = self._see(sharp)
        found = self._see(torch.cat(stages) if len(stages) > 1 else stages[0])
        if self.adapter is not None and self.adapter.mode == "flatten":
            # reading its weights is most of such an adapter's work, so all images pass at once
            adapted = self._adapt(torch.cat([wanted, found]))
            wanted, found = adapted[: len(wanted)], adapted[len(wanted) :]
        else:
            wanted, found = self._adapt(wanted), self._adapt(found)
        wanted, found = wanted.detach().float(), found.float()
        errors = (found.view(len(stages), *wanted.shape) - wanted).square().flatten(2).mean(dim=2).sum(dim=0)
        return errors.mean() if self.reduction == "mean" else errors

    def embed(self, images: Tensor) -> Tensor:
        """What the loss compares, in float32: the backbone's features, or what the adapter makes of them."""
        return self._adapt(self._see(images)).float()

    def _see(self, images: Tensor) -> Tensor:
        """Features of the backbone, in bf16 under autocast to 16 bits."""
        device = images.device.type
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) in (torch.bfloat16, torch.float16)
        dtype = torch.bfloat16 if low else torch.float32
        backbone, _ = self._parts(dtype)
        with torch.autocast(device, enabled=False):
            images = images.float()
            if self.size != "native":
                images = resize(images, self.size)
            return cast(Tensor, backbone(images.to(dtype), self.block, normalize=self.normalize))

    def _adapt(self, features: Tensor) -> Tensor:
        """What the adapter, where there is one, makes of features."""
        _, adapter = self._parts(features.dtype)
        with torch.autocast(features.device.type, enabled=False):
            return features if adapter is None else cast(Tensor, adapter(features))

    def _parts(self, dtype: torch.dtype) -> tuple[Backbone, Adapter | None]:
        return cast("FrozenParts", torch.compiler.disable(self._frozen_parts))(dtype)

    def _frozen_parts(self, dtype: torch.dtype) -> tuple[Backbone, Adapter | None]:
        """The backbone up to the block, and the adapter, in evaluation mode and without gradients.

        They share memory with the originals unless ``dtype`` is another one; made again when those were moved,
        cast or loaded anew.
        """
        tensors = [*self.backbone.parameters(), *self.backbone.buffers()]
        tensors += [] if self.adapter is None else [*self.adapter.parameters(), *self.adapter.buffers()]
        state = [(tensor.data_ptr(), tensor.device, tensor._version) for tensor in tensors]
        if dtype not in self._frozen or self._frozen[dtype][0] != state:
            backbone = _frozen_view(self.backbone)
            backbone.drop_after(self.block)
            adapter = None if self.adapter is None else _frozen_view(self.adapter)
            for part in (backbone, adapter):
                if part is not None:
                    part.to(dtype)
            self._frozen[dtype] = (state, backbone, adapter)
        return self._frozen[dtype][1:]


def resize(images: Tensor, size_px: int) -> Tensor:
    """Make images ``b c h w`` square, bicubic without antialiasing (method: the released code's ``interpolate``).

    A row of the result is a weighted sum of the image's rows, and so is a column; written as two matrix products its
    gradient takes a third of the time of ``interpolate``'s on a CPU.

    >>> images = torch.rand(1, 3, 40, 50)
    >>> wanted = nn.functional.interpolate(images, size=(28, 28), mode="bicubic", align_corners=False)
    >>> torch.allclose(resize(images, 28), wanted, atol=1e-5)
    True
    """
    if images.shape[-2:] == (size_px, size_px):
        return images
    if images.device.type != "cpu" or max(images.shape[-2:]) > LARGEST_PRODUCT_PX:
        return nn.functional.interpolate(images, size=[size_px, size_px], mode="bicubic", align_corners=False)
    rows, columns = (_bicubic_matrix(side, size_px) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _bicubic_matrix(side_px: int, size_px: int) -> Tensor:
    """What bicubic resizing of a line does, ``size_px side_px``."""
    lines = torch.eye(side_px)[None, None]
    return nn.functional.interpolate(lines, size=[size_px, side_px], mode="bicubic", align_corners=False)[0, 0]


def check_images(restored: Tensor, sharp: Tensor) -> None:
    """Raise ValueError, in a sentence that helps, for images that the loss cannot compare."""
    for name, images in (("restored", restored), ("sharp", sharp)):
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"{name} must be RGB images b 3 h w; it is {tuple(images.shape)}")
        if 0 in images.shape:
            raise ValueError(f"{name} is empty: {tuple(images.shape)}")
        if not images.is_floating_point():
            raise ValueError(f"{name} is {images.dtype}: give floats in [0, 1], for example {name}.float() / 255")
    if restored.shape != sharp.shape:
        raise ValueError(f"restored is {tuple(restored.shape)} and sharp {tuple(sharp.shape)}: they must be equal")
    if restored.dtype != sharp.dtype and not torch.is_autocast_enabled(restored.device.type):
        raise ValueError(f"restored is {restored.dtype} and sharp {sharp.dtype}: they must be equal")
    if restored.device != sharp.device:
        raise ValueError(f"restored is on {restored.device} and sharp on {sharp.device}: they must be on one device")
    if torch.compiler.is_compiling():  # looking at values would break the graph
        return
    for name, images, tolerance in (("restored", restored, RESTORED_TOLERANCE), ("sharp", sharp, SHARP_TOLERANCE)):
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if not (low > -float("inf") and high < float("inf")):
            raise ValueError(f"{name} has values that are not finite (NaN or inf)")
        if low < -tolerance or high > 1 + tolerance:
            raise ValueError(f"{name} must lie in [0, 1]; it reaches from {low:.3g} to {high:.3g}")


def _frozen_view(module: Part) -> Part:
    """A copy of the module's structure on the same memory, in evaluation mode and without gradients."""
    memo: dict[int, Any] = {
        id(value): nn.Parameter(value.detach(), requires_grad=False) for value in module.parameters()
    }
    memo |= {id(value): value.detach() for value in module.buffers()}
    return copy.deepcopy(module, memo).eval()


def _check_adapter(adapter: Adapter, backbone: Backbone, block: Block) -> None:
    made_for = adapter.made_for
    wanted = {"backbone": backbone.about.name, "block": block}
    for key, value in wanted.items():
        if made_for.get(key, value) != value:
            raise UserError(
                f"the adapter was made for {made_for.get('backbone')} block {made_for.get('block')}, "
                f"not for {wanted['backbone']} block {block}"
            )


def _read_authors_file(path: Path, tensors: dict[str, Tensor]) -> tuple[Backbone, Block, Adapter]:
    """Backbone and adapter of a checkpoint that the paper's authors published."""
    layers = {name.removeprefix("mlp."): value for name, value in tensors.items() if name.startswith("mlp.")}
    hidden, inputs = layers["0.weight"].shape
    width = 768
    made_for = {"backbone": "clip-vit-b16", "block": 3}
    sizes = {"mode": "flatten", "tokens": inputs // width, "width": width, "hidden": hidden, "made_for": made_for}
    adapter = Adapter.from_tensors(path, layers, Origin("adapter", "clip-vit-b16", sizes, path.name))
    return build_backbone("clip-vit-b16", path, last_block=3), 3, adapter
