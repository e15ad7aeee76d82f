"""The feature matching loss on plain features (FMLC) and on features adapted to blur (TFMLC)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones import Backbone, Block, build_backbone
from tfmlc.errors import UserError
from tfmlc.losses.adapter import DEFAULT_BLOCK, NATIVE_PX, Adapter, Size
from tfmlc.losses.adapter_files import read_adapter
from tfmlc.losses.frozen import PARTS, FrozenParts, other_weights
from tfmlc.losses.inputs import as_stages, check_range, check_rgb
from tfmlc.padding import pad_sides

Images = Tensor | Sequence[Tensor]
Reduction = Literal["mean", "none"]
Offset = Literal["none", "random"]
FrozenOn = Callable[[torch.device, torch.dtype], tuple[Backbone, Adapter | None]]
LARGEST_PRODUCT_PX = 512
SHIPPED, SHIPPED_BACKBONE = "default", "dinov2-student"


class FeatureMatchingLoss(nn.Module):
    """Mean squared error between the features of the restored and the sharp image.

    Without an adapter the loss compares the features of a backbone (FMLC). With an adapter it compares the adapter's
    outputs on these features (TFMLC).

    The loss does not change or train the backbone and the adapter. They are not submodules, so a module that holds
    the loss does not have their weights in its parameters or its state dict. They follow the device of the images
    and compute in float32. Under 16-bit autocast the loss keeps a copy of them in bfloat16.

    Args:
        backbone: The backbone, from ``build_backbone``. Several losses can share it. None takes the one
            that ships with the package.
        block: The block whose features are compared, counted from zero, or ``"final"`` for the backbone's embedding.
        adapter: The adapter on top of the features. None gives FMLC.
        normalize: Whether to normalise the images with the backbone's mean and standard deviation. ``False`` gives
            the behaviour of the paper's released code.
        size: The side in px to which images are resized (bicubic, without antialiasing), or ``"native"`` to keep
            their size. None takes 224 px, as the paper does, and ``"native"`` for the loss that ships.
        reduction: ``"mean"`` returns a scalar, ``"none"`` one value per image.
        offset: ``"none"`` compares the images as they are, as the paper does. ``"random"`` moves the restored and the
            sharp images by the same random part of a patch at each call in training mode, so that the grid of patches
            leaves no pattern in the gradient. With a ``size`` it also changes the scale by up to a patch per side.

    Raises:
        UserError: If a setting is invalid, the backbone does not have the block, or the adapter was made for another
            backbone or block. UserError is a ValueError.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, equations 2 (FMLC) and 3 (TFMLC).

    Example:
        >>> loss = FeatureMatchingLoss(offset="random")  # the loss that ships
        >>> sharp = torch.rand(2, 3, 32, 32)
        >>> restored = sharp.roll(1, dims=3).requires_grad_()
        >>> loss(restored, sharp).backward()
        >>> restored.grad.shape
        torch.Size([2, 3, 32, 32])
        >>> backbone = build_backbone("dinov2-vit-s14", weights=None)  # random; "hub" downloads the official weights
        >>> FeatureMatchingLoss(backbone, block=3)(sharp, sharp)
        tensor(0.)
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        block: Block = DEFAULT_BLOCK,
        adapter: Adapter | None = None,
        normalize: bool = True,
        size: Size | None = None,
        reduction: Reduction = "mean",
        offset: Offset = "none",
    ) -> None:
        super().__init__()
        if size is None:
            size = "native" if backbone is None else NATIVE_PX
        backbone = build_backbone(SHIPPED_BACKBONE) if backbone is None else backbone
        if reduction not in ("mean", "none"):
            raise UserError(f"reduction must be 'mean' or 'none', not {reduction!r}")
        if offset not in ("none", "random"):
            raise UserError(f"offset must be 'none' or 'random', not {offset!r}")
        if size != "native" and not (type(size) is int and size > 0):
            raise UserError(f"size must be a number of px or 'native', not {size!r}")
        if not isinstance(backbone, Backbone):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UserError(f"backbone must be a Backbone, not {backbone!r}: build_backbone makes one by name")
        backbone.check_block(block)
        if adapter is not None:
            adapter.check_fits(backbone, block)
        self._parts = FrozenParts(backbone, adapter, block)
        self.block: Block = block
        self.normalize, self.reduction = normalize, reduction
        self.offset: Offset = offset
        self.size: Size = size
        self.register_load_state_dict_pre_hook(_leave_out_parts)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        weights: str | Path = "hub",
        normalize: bool = True,
        size: Size | None = None,
        reduction: Reduction = "mean",
        offset: Offset = "none",
    ) -> FeatureMatchingLoss:
        """Load a TFMLC from an adapter's file or from a checkpoint that the paper's authors published.

        Args:
            path: The file. It names the backbone and the block. ``"default"`` is the loss that ships.
            weights: The backbone's weights, as in ``build_backbone``. The authors' checkpoints hold them.
            normalize: As in the constructor.
            size: As in the constructor. None takes the size that the adapter was trained on.
            reduction: As in the constructor.
            offset: As in the constructor.

        Returns:
            The loss.

        Raises:
            UserError: If the file is missing, damaged or not an adapter, or the backbone's weights are not available.

        Example:
            >>> import tempfile
            >>> from tfmlc.losses.adapter import MadeFor
            >>> adapter = Adapter(mode="token", width=64, hidden=32, made_for=MadeFor("alexnet", block=0))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     _ = adapter.save(Path(folder) / "adapter.safetensors", origin="an example", licence="CC0-1.0")
            ...     loss = FeatureMatchingLoss.load(Path(folder) / "adapter.safetensors", weights="random")
            >>> loss.block, loss.adapter.mode
            (0, 'token')
        """
        if str(path) == SHIPPED:
            _check_no_weights(weights)
            return cls(normalize=normalize, size=size, reduction=reduction, offset=offset)
        adapter, made_for, held = read_adapter(Path(path))
        backbone = build_backbone(made_for.backbone, held or weights, last_block=made_for.block)
        return cls(
            backbone,
            block=made_for.block,
            adapter=adapter,
            normalize=normalize,
            size=made_for.size if size is None else size,
            reduction=reduction,
            offset=offset,
        )

    @property
    def backbone(self) -> Backbone:
        """The backbone; not a submodule, so no state dict holds it and nothing trains it."""
        return self._parts.backbone

    @property
    def adapter(self) -> Adapter | None:
        """The adapter, or None; held like the backbone."""
        return self._parts.adapter

    def extra_repr(self) -> str:
        """Show the backbone, the block, the adapter and the settings."""
        adapter = None if self.adapter is None else self.adapter.mode
        parts = f"backbone={self.backbone.info.name or type(self.backbone).__name__}, block={self.block!r}"
        settings = f"normalize={self.normalize}, size={self.size!r}, reduction={self.reduction!r}"
        settings += f", offset={self.offset!r}"
        return f"{parts}, adapter={adapter!r}, {settings}"

    def forward(self, restored: Images, sharp: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            restored: RGB images in [0, 1], ``b 3 h w``, or the tuple of a network's stages. The losses of the stages
                are summed. The sharp images pass the backbone once.
            sharp: The sharp images, ``b 3 h w``.

        Returns:
            A scalar, or one value per image with ``reduction="none"``.

        Raises:
            UserError: If an input is not a tensor of this shape, the shapes or dtypes differ, or values are not
                finite or far outside of [0, 1].
        """
        stages = as_stages(restored)
        for stage in stages:
            check_rgb(stage, sharp)
        check_range(stages, sharp)
        if self.offset == "random" and self.training:
            draw = cast("Callable[[Tensor], dict[str, int]]", torch.compiler.disable(self._random_pads))
            pads = draw(sharp)
            stages, sharp = [pad_sides(stage, **pads) for stage in stages], pad_sides(sharp, **pads)
        backbone, adapter = self._running_parts(sharp)
        with torch.no_grad():
            sharp_features = self._features(backbone, sharp)
        restored_features = self._features(backbone, torch.cat(stages) if len(stages) > 1 else stages[0])
        if adapter is not None and adapter.mode == "flatten":
            # reading the weights takes most of the time of such an adapter, so all images pass at once
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
        """Return what the loss compares, in float32.

        Args:
            images: RGB images in [0, 1], ``b 3 h w``.

        Returns:
            The backbone's features or, with an adapter, the adapter's outputs.
        """
        backbone, adapter = self._running_parts(images)
        return _adapt(adapter, self._features(backbone, images)).float()

    def _random_pads(self, images: Tensor) -> dict[str, int]:
        """Draw how far each side of the images is padded, in px; less than a patch."""
        height, width = (self._limit_px(side) for side in images.shape[-2:])
        limits = {"left": width, "right": width, "top": height, "bottom": height}
        if self.size == "native":  # without a change of scale the backbone pads the other sides
            del limits["right"], limits["bottom"]
        return {side: int(torch.randint(limit, (), device="cpu")) for side, limit in limits.items()}

    def _limit_px(self, side: int) -> int:
        """Return the side of a patch on an image whose side is ``side``, in px."""
        patch_px = self.backbone.patch_px
        return patch_px if self.size == "native" else max(1, patch_px * side // self.size)

    def _features(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Return the backbone's features, in its own precision."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            if self.size != "native":
                images = resize(images, self.size)
            return backbone(images.to(backbone.mean.dtype), self.block, normalize=self.normalize)

    def _running_parts(self, images: Tensor) -> tuple[Backbone, Adapter | None]:
        """Return the parts to run: on the images' device, in bfloat16 under 16-bit autocast and else in float32."""
        device = images.device.type
        low = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) in (torch.bfloat16, torch.float16)
        on = cast("FrozenOn", torch.compiler.disable(self._parts.on))
        return on(images.device, torch.bfloat16 if low else torch.float32)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Let ``to`` and ``cuda`` move the parts, but not cast them: their dtype follows autocast."""
        super()._apply(fn, recurse)
        self._parts.move(fn(torch.empty(0, device=self.backbone.mean.device)).device)
        return self


def _check_no_weights(weights: str | Path) -> None:
    if str(weights) != "hub":
        raise UserError("the loss that ships has weights of its own: leave out the argument weights")


def _adapt(adapter: Adapter | None, features: Tensor) -> Tensor:
    """Return the adapter's outputs, or the features if there is no adapter."""
    with torch.autocast(features.device.type, enabled=False):
        return features if adapter is None else adapter(features)


def _leave_out_parts(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Ignore the frozen parts in checkpoints of earlier versions, which stored them.

    The loss keeps its own parts, and warns if the checkpoint holds other weights.
    """
    assert isinstance(module, FeatureMatchingLoss)
    for name in PARTS:
        start = f"{prefix}{name}."
        stored = {key.removeprefix(start): state.pop(key) for key in list(state) if key.startswith(start)}
        if other_weights(module._parts, name, stored):  # pyright: ignore[reportPrivateUsage]
            warnings.warn(
                f"the checkpoint holds another {name} than this loss, which keeps its own: to use the one of the "
                f"checkpoint, build the loss with that {name}",
                stacklevel=2,
            )


def resize(images: Tensor, size_px: int) -> Tensor:
    """Resize images ``b c h w`` to squares, bicubic and without antialiasing, as the paper's released code does.

    The result equals ``interpolate``. On a CPU small images are resized by two matrix products, whose gradient takes
    a third of the time.

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
    """Return the matrix that resizes a line of ``side_px`` values to ``size_px``, ``size_px side_px``."""
    lines = torch.eye(side_px, dtype=torch.float32, device="cpu")[None, None]
    return nn.functional.interpolate(lines, size=[size_px, side_px], mode="bicubic", align_corners=False)[0, 0]
