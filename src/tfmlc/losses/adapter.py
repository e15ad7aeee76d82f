"""The adapter: a small network that ranks blur, on top of frozen features."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from tfmlc.backbones import RANDOM, Backbone, Block
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors, write_checkpoint
from tfmlc.typed import is_record

Mode = Literal["flatten", "token"]
Size = int | Literal["native"]
NATIVE_PX = 224
DEFAULT_BLOCK = 3
LARGEST_NUMBER = 1 << 24  # limit of the sizes that a file can claim


@dataclass(frozen=True)
class MadeFor:
    """The features that an adapter was trained on.

    Attributes:
        backbone: The backbone's name, as in ``build_backbone``.
        block: The block whose features the adapter takes.
        size: The side in px to which images are resized, or ``"native"`` if they keep their size.
        weights: The fingerprint of the backbone's weights, or ``"random"``; empty if it is not recorded.
    """

    backbone: str
    block: Block = DEFAULT_BLOCK
    size: Size = NATIVE_PX
    weights: str = field(default="", repr=False)


class Adapter(nn.Sequential):
    """Three linear layers, with batch normalisation and ReLU between them, on the features of a backbone.

    Training it on blur triplets makes distances between its outputs grow with blur. It takes features ``b n d``,
    ``b c h w`` (each position is a token) or ``b d`` (one token).

    Args:
        mode: ``"flatten"`` (the paper) joins all tokens into one vector, so it fits one image size and returns
            ``b hidden``. ``"token"`` applies the same layers to each token, so it fits any image size and returns
            ``b n hidden``.
        tokens: The number of tokens. Only ``"flatten"`` needs it.
        width: The number of features per token.
        hidden: The width of each layer.
        made_for: The backbone, block and image size of the features. It is saved with the weights.

    Raises:
        UserError: If the mode is unknown, or ``tokens`` is missing with ``"flatten"``. When called: if the features
            have another width or another number of tokens.

    References:
        "Task-Adaptive Feature Matching Loss for Image Deblurring", ICIP 2023, section 2.2.

    Example:
        >>> adapter = Adapter(mode="token", width=384, hidden=64).eval()
        >>> adapter(torch.rand(2, 10, 384)).shape
        torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        *,
        mode: Mode = "flatten",
        tokens: int | None = None,
        width: int = 768,
        hidden: int = 1024,
        made_for: MadeFor | None = None,
    ) -> None:
        if mode not in ("flatten", "token"):
            raise UserError(f"an adapter's mode is 'flatten' or 'token', not {mode!r}")
        if mode == "flatten" and tokens is None:
            raise UserError("an adapter of mode 'flatten' needs the number of tokens: 197 for clip-vit-b16 at 224 px")
        inputs = width * tokens if mode == "flatten" and tokens else width
        super().__init__(
            nn.Linear(inputs, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
        )
        self.mode: Mode = mode
        self.tokens = tokens if mode == "flatten" else None
        self.width, self.hidden = width, hidden
        self.made_for = made_for
        self.info = CheckpointInfo()

    def extra_repr(self) -> str:
        """Show the mode, the sizes and the features that the adapter was made for."""
        tokens = f", tokens={self.tokens}" if self.tokens else ""
        return f"mode={self.mode!r}{tokens}, width={self.width}, hidden={self.hidden}, made_for={self.made_for}"

    def explain(self) -> str:
        """Describe the adapter in a few lines: sizes, features, number of weights, origin and licence."""
        made_for, sizes = self.made_for, f"mode={self.mode}, width={self.width}, hidden={self.hidden}"
        features = f"{made_for.backbone}, block {made_for.block}" if made_for else "not recorded"
        if made_for and made_for.weights:
            features += f", weights {made_for.weights}"
        lines = [
            f"adapter   {sizes}{f', tokens={self.tokens}' if self.tokens else ''}",
            f"features  {features}",
            *self.info.lines(sum(value.numel() for value in self.parameters())),
        ]
        return "\n".join(lines)

    def forward(self, features: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        tokens = as_tokens(features)
        batch, count, width = tokens.shape
        if width != self.width or (self.tokens is not None and count != self.tokens):
            takes = f"{self.tokens} tokens of {self.width}" if self.tokens else f"tokens of {self.width}"
            hint = "; for another image size use an adapter of mode 'token'" if width == self.width else ""
            raise UserError(f"the adapter takes {takes} numbers, the features are {count} tokens of {width}{hint}")
        if self.mode == "flatten":
            return cast(Tensor, super().forward(tokens.reshape(batch, -1)))
        return cast(Tensor, super().forward(tokens.reshape(batch * count, width))).view(batch, count, -1)

    def check_fits(self, backbone: Backbone, block: Block) -> None:
        """Raise UserError if the adapter was made for another backbone or block, and warn if for other weights."""
        made_for, weights = self.made_for, backbone.info.sha256 or RANDOM
        if made_for is None:
            return
        if (made_for.backbone, made_for.block) != (backbone.info.name, block):
            wanted = f"{made_for.backbone} block {made_for.block}"
            raise UserError(f"the adapter was made for {wanted}, not for {backbone.info.name} block {block}")
        if made_for.weights not in ("", weights):
            warnings.warn(
                f"the adapter was trained on other weights of {made_for.backbone} ({made_for.weights[:12]}) than these "
                f"({weights[:12]}): unless they are the same in another precision, the loss means nothing",
                stacklevel=4,
            )

    def hyperparameters(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain values, as they are written to a file."""
        sizes = {"mode": self.mode, "tokens": self.tokens, "width": self.width, "hidden": self.hidden}
        return {**sizes, "made_for": asdict(self.made_for) if self.made_for is not None else {}}

    def save(self, path: Path, *, origin: str, licence: str) -> CheckpointInfo:
        """Write the adapter to a safetensors file that ``load`` and ``FeatureMatchingLoss.load`` read.

        Args:
            path: The file to write.
            origin: How the weights came to be, in a few words.
            licence: The licence of the weights, for example ``"Apache-2.0"``.

        Returns:
            The information that is stored with the weights.
        """
        name = self.made_for.backbone if self.made_for is not None else ""
        return write_checkpoint(
            path, self.state_dict(), CheckpointInfo("adapter", name, self.hyperparameters(), origin, licence)
        )

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read an adapter that ``save`` wrote.

        Args:
            path: The file.

        Returns:
            The adapter, frozen and in evaluation mode.

        Raises:
            UserError: If the file is missing, damaged or not an adapter.
        """
        tensors, info = read_tensors(Path(path))
        if info.kind != "adapter":
            raise UserError(f"{path} is not an adapter: it holds {info.kind or 'weights of another program'}")
        return cls.from_tensors(Path(path), tensors, info)

    @classmethod
    def from_tensors(cls, path: Path, tensors: dict[str, Tensor], info: CheckpointInfo) -> Adapter:
        """Rebuild an adapter from the content of its file; ``path`` is named in errors."""
        hyperparameters: dict[str, Any] = {**info.hyperparameters, "made_for": read_made_for(path, info)}
        try:
            with torch.device("meta"):
                adapter = cls(**hyperparameters)
            adapter.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()},
                assign=True,
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not fit its own description: {' '.join(str(error).split())[:300]}") from error
        adapter.info = info
        return adapter.requires_grad_(False).eval()


def read_made_for(path: Path, info: CheckpointInfo) -> MadeFor | None:
    """Read what an adapter's file says about the features it was trained on, and check its sizes.

    Files of earlier versions can lack values; these get the defaults. None if the file says nothing.
    """
    sizes = info.hyperparameters
    numbers = [sizes.get(key) for key in ("tokens", "width", "hidden") if sizes.get(key) is not None]
    fits = all(type(number) is int and 0 < number < LARGEST_NUMBER for number in numbers)
    stored: object = sizes.get("made_for", {})
    if is_record(stored) and fits:
        backbone, block = stored.get("backbone", info.name), stored.get("block", DEFAULT_BLOCK)
        size, weights = stored.get("size", NATIVE_PX), stored.get("weights", "")
        fits = isinstance(backbone, str) and isinstance(weights, str) and (block == "final" or type(block) is int)
        if fits and (size == "native" or type(size) is int):
            return MadeFor(backbone, block, size, weights) if stored else None
    raise UserError(f"{path} does not fit its own description: {str(sizes)[:200]}")


def as_tokens(features: Tensor) -> Tensor:
    """Bring the features of any backbone to tokens ``b n d``.

    >>> as_tokens(torch.rand(2, 64, 5, 7)).shape, as_tokens(torch.rand(2, 512)).shape
    (torch.Size([2, 35, 64]), torch.Size([2, 1, 512]))
    """
    if features.dim() == 4:
        return features.flatten(2).transpose(1, 2)
    return features if features.dim() == 3 else features[:, None]
