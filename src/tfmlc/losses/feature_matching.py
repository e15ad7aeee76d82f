"""The feature matching loss, plain (FMLC) and adapted to blur (TFMLC) (ICIP 2023, equations 2 and 3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones import Backbone, Block, build_backbone
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors
from tfmlc.losses.adapter import Adapter
from tfmlc.losses.frozen import PARTS, FrozenParts, other_weights
from tfmlc.losses.inputs import as_stages, check_range, check_rgb

Images = Tensor | Sequence[Tensor]
FrozenOn = Callable[[torch.device, torch.dtype], tuple[Backbone, Adapter | None]]
NATIVE_PX = 224
LARGEST_PRODUCT_PX = 512


class FeatureMatchingLoss(nn.Module):
    """Mean squared error between features of the restored and of the sharp image.

    ``backbone`` and ``block`` say which features; with an ``adapter`` they are the adapter's outputs (TFMLC). The
    images are resized to ``size`` px (bicubic, no antialiasing, as the paper's code) or left at their own size,
    ``"native"``. ``normalize=False`` leaves out the backbone's mean and standard std, as the released loss does.
    ``reduction="none"`` gives one value an image. Neither backbone nor adapter is changed, trained or collects
    gradients; they are no submodules, so a module that holds the loss has none of their weights in its parameters and
    state dict. They compute where the images are, in float32; under autocast to 16 bits a copy in bf16 is kept.

    ``loss(restored, sharp)`` takes RGB in [0, 1], ``b 3 h w``; ``restored`` may be the tuple of a network's stages,
    whose losses are summed while the sharp image passes once. Raises UserError, a ValueError, for another type,
    shape, range, dtype, or values that are not finite.

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
        self._parts = FrozenParts(backbone, adapter, block)
        self.block: Block = block
        self.normalize, self.reduction = normalize, reduction
        self.size: int | Literal["native"] = size
        self.register_load_state_dict_pre_hook(_leave_out_parts)

    @classmethod
    def load(cls, path: str | Path, *, weights: str | Path = "hub", **settings: Any) -> FeatureMatchingLoss:
        """Rebuild a TFMLC from an adapter's file, or from a checkpoint the paper's authors published.

        ``weights`` are the backbone's, as in ``build_backbone``; the authors' files hold them already, for CLIP
        ViT-B/16, block 3 and the flatten adapter. ``settings`` are those of the constructor.
        """
        tensors, info = read_tensors(Path(path))
        if any(name.startswith("mlp.") for name in tensors):
            backbone, block, adapter = _read_authors_file(Path(path), tensors)
        elif info.kind == "adapter":
            adapter = Adapter.from_tensors(Path(path), tensors, info)
            block = adapter.made_for.get("block", 3)
            backbone = build_backbone(info.name, weights, last_block=block)
            settings = {"size": adapter.made_for.get("size", NATIVE_PX), **settings}
        else:
            held = info.kind or f"tensors named {', '.join(list(tensors)[:3])}"
            raise UserError(f"{path} holds no adapter: {held}")
        return cls(backbone, block=block, adapter=adapter, **settings)

    @property
    def backbone(self) -> Backbone:
        """The backbone that was given; it is no submodule, so it is in no state dict and nothing trains it."""
        return self._parts.backbone

    @property
    def adapter(self) -> Adapter | None:
        """The adapter that was given, held like the backbone."""
        return self._parts.adapter

    def extra_repr(self) -> str:
        """Backbone, block, adapter and settings."""
        adapter = "none" if self.adapter is None else self.adapter.mode
        parts = f"backbone={self.backbone.info.name or type(self.backbone).__name__}, block={self.block!r}"
        settings = f"normalize={self.normalize}, size={self.size!r}, reduction={self.reduction!r}"
        return f"{parts}, adapter={adapter}, {settings}"

    def forward(self, restored: Images, sharp: Tensor) -> Tensor:
        stages = as_stages(restored)
        for stage in stages:
            check_rgb(stage, sharp)
        check_range(stages, sharp)
        backbone, adapter = self._running_parts(sharp)
        with torch.no_grad():
            sharp_features = self._features(backbone, sharp)
        restored_features = self._features(backbone, torch.cat(stages) if len(stages) > 1 else stages[0])
        if adapter is not None and adapter.mode == "flatten":
            # reading its weights is most of such an adapter's work, so all images pass at once
            adapted = _adapt(adapter, torch.cat([sharp_features, restored_features]))
            sharp_features, restored_features = adapted[: len(sharp)], adapted[len(sharp) :]
        else:
            sharp_features, restored_features = (
                _adapt(adapter, features) for features in (sharp_features, restored_features)
            )
        sharp_features, restored_features = sharp_features.detach().float(), restored_features.float()
        difference = restored_features.view(len(stages), *sharp_features.shape) - sharp_features
        errors = difference.square().flatten(2).mean(dim=2).sum(dim=0)
        return errors.mean() if self.reduction == "mean" else errors

    def embed(self, images: Tensor) -> Tensor:
        """What the loss compares, in float32: the backbone's features, or what the adapter makes of them."""
        backbone, adapter = self._running_parts(images)
        return _adapt(adapter, self._features(backbone, images)).float()

    def _features(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Features of the backbone, in its own precision."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            if self.size != "native":
                images = resize(images, self.size)
            return cast(Tensor, backbone(images.to(backbone.mean.dtype), self.block, normalize=self.normalize))

    def _running_parts(self, images: Tensor) -> tuple[Backbone, Adapter | None]:
        """Backbone and adapter where the images are; in bf16 under autocast to 16 bits, else in float32."""
        device = images.device.type
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) in (torch.bfloat16, torch.float16)
        on = cast("FrozenOn", torch.compiler.disable(self._parts.on))
        return on(images.device, torch.bfloat16 if low else torch.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Let ``to``, ``cuda`` and the like move the parts, but not cast them: dtypes follow autocast."""
        super()._apply(fn, recurse)
        self._parts.move(fn(torch.empty(0, device=self.backbone.mean.device)).device)
        return self


def _adapt(adapter: Adapter | None, features: Tensor) -> Tensor:
    """What the adapter, where there is one, makes of features."""
    with torch.autocast(features.device.type, enabled=False):
        return features if adapter is None else cast(Tensor, adapter(features))


def _leave_out_parts(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Take what earlier versions stored of the frozen parts out of a checkpoint that is being loaded.

    The loss keeps its own; a warning tells where the checkpoint's are others.
    """
    loss = cast(FeatureMatchingLoss, module)
    for name in PARTS:
        start = f"{prefix}{name}."
        stored = {key.removeprefix(start): state.pop(key) for key in list(state) if key.startswith(start)}
        if other_weights(loss._parts, name, stored):  # pyright: ignore[reportPrivateUsage]
            warnings.warn(
                f"the checkpoint holds another {name} than this loss, which keeps its own: build the loss from "
                f"the same file as then, or give it that {name}",
                stacklevel=2,
            )


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
    rows, columns = (_bicubic_matrix(side, size_px).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _bicubic_matrix(side_px: int, size_px: int) -> Tensor:
    """What bicubic resizing of a line does, ``size_px side_px``."""
    lines = torch.eye(side_px, dtype=torch.float32, device="cpu")[None, None]
    return nn.functional.interpolate(lines, size=[size_px, side_px], mode="bicubic", align_corners=False)[0, 0]


def _check_adapter(adapter: Adapter, backbone: Backbone, block: Block) -> None:
    made_for = adapter.made_for
    wanted = {"backbone": backbone.info.name, "block": block}
    for key, value in wanted.items():
        if made_for.get(key, value) != value:
            raise UserError(
                f"the adapter was made for {made_for.get('backbone')} block {made_for.get('block')}, "
                f"not for {wanted['backbone']} block {block}"
            )


def _read_authors_file(path: Path, tensors: dict[str, Tensor]) -> tuple[Backbone, Block, Adapter]:
    """Backbone and adapter of a checkpoint that the paper's authors published."""
    layers = {name.removeprefix("mlp."): value for name, value in tensors.items() if name.startswith("mlp.")}
    if layers.get("0.weight", torch.empty(0)).dim() != 2:
        raise UserError(f"{path} is no checkpoint of the paper's authors: it lacks mlp.0.weight, or misshapes it")
    hidden, inputs = layers["0.weight"].shape
    width = 768
    made_for = {"backbone": "clip-vit-b16", "block": 3}
    sizes = {"mode": "flatten", "tokens": inputs // width, "width": width, "hidden": hidden, "made_for": made_for}
    adapter = Adapter.from_tensors(path, layers, CheckpointInfo("adapter", "clip-vit-b16", sizes, path.name))
    return build_backbone("clip-vit-b16", path, last_block=3), 3, adapter
