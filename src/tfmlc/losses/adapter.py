"""The adapter that learns to rank blur on top of frozen features (ICIP 2023, section 2.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from tfmlc.errors import UserError
from tfmlc.io.checkpoint import CheckpointInfo, read_tensors, write_checkpoint

Mode = Literal["flatten", "token"]


class Adapter(nn.Sequential):
    """Three linear layers, with batch normalisation and ReLU between them, on a backbone's features.

    ``mode="flatten"`` (the paper) joins all ``tokens`` of ``width`` numbers to one vector first, so it fits one
    image size, and answers ``b hidden``. ``mode="token"`` applies the same layers to every token, so it fits any
    size, and answers ``b n hidden``; ``tokens`` is ignored. Features are ``b n d``, ``b c h w`` (every place a token)
    or ``b d`` (one token). ``made_for`` names the backbone and block that it was trained on.

    >>> adapter = Adapter(mode="token", width=384, hidden=64)
    >>> tuple(adapter.eval()(torch.rand(2, 10, 384)).shape)
    (2, 10, 64)
    """

    def __init__(
        self,
        *,
        mode: Mode = "flatten",
        tokens: int | None = None,
        width: int = 768,
        hidden: int = 1024,
        made_for: dict[str, Any] | None = None,
    ) -> None:
        if mode not in ("flatten", "token"):
            raise UserError(f"an adapter's mode is 'flatten' or 'token', not {mode!r}")
        if mode == "flatten" and tokens is None:
            raise UserError("an adapter of mode 'flatten' needs the number of tokens, 197 for clip-vit-b16 at 224 px")
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
        self.made_for = dict(made_for or {})
        self.info = CheckpointInfo()

    def forward(self, features: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        tokens = as_tokens(features)
        batch, count, width = tokens.shape
        if width != self.width or (self.tokens is not None and count != self.tokens):
            takes = f"{self.tokens} tokens of {self.width}" if self.tokens else f"tokens of {self.width}"
            hint = "; another image size needs an adapter of mode 'token'" if width == self.width else ""
            raise UserError(f"the adapter takes {takes} numbers, the features are {count} tokens of {width}{hint}")
        if self.mode == "flatten":
            return cast(Tensor, super().forward(tokens.reshape(batch, -1)))
        return cast(Tensor, super().forward(tokens.reshape(batch * count, width))).view(batch, count, -1)

    def hyperparameters(self) -> dict[str, Any]:
        """What rebuilds an adapter of this form."""
        sizes = {"mode": self.mode, "tokens": self.tokens, "width": self.width, "hidden": self.hidden}
        return {**sizes, "made_for": self.made_for}

    def save(self, path: Path, *, origin: str, licence: str) -> CheckpointInfo:
        """Write the adapter's weights and what rebuilds it."""
        name = str(self.made_for.get("backbone", ""))
        return write_checkpoint(
            path, self.state_dict(), CheckpointInfo("adapter", name, self.hyperparameters(), origin, licence)
        )

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read an adapter that ``save`` wrote, in evaluation mode; raises UserError for any other file."""
        tensors, info = read_tensors(Path(path))
        if info.kind != "adapter":
            raise UserError(f"{path} is not an adapter: it holds {info.kind or 'weights of another program'}")
        return cls.from_tensors(Path(path), tensors, info)

    @classmethod
    def from_tensors(cls, path: Path, tensors: dict[str, Tensor], info: CheckpointInfo) -> Adapter:
        """Rebuild an adapter from its weights and hyperparameters."""
        _check_description(path, info)
        try:
            with torch.device("meta"):
                adapter = cls(**info.hyperparameters)
            adapter.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()},
                assign=True,
            )
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not fit its own description: {' '.join(str(error).split())[:300]}") from error
        adapter.info = info
        return adapter.requires_grad_(False).eval()


def _check_description(path: Path, info: CheckpointInfo) -> None:
    """Raise UserError where what a file says of its adapter has values of the wrong kind."""
    sizes = info.hyperparameters
    made_for = cast("dict[str, object]", sizes.get("made_for", {}))
    numbers = [sizes.get(key) for key in ("tokens", "width", "hidden") if sizes.get(key) is not None]
    fits = all(type(number) is int and 0 < number < 1 << 24 for number in numbers)
    if not fits or not isinstance(cast(object, made_for), dict) or not _describes_features(made_for):
        raise UserError(f"{path} does not fit its own description: {str(sizes)[:200]}")


def _describes_features(made_for: dict[str, object]) -> bool:
    block, size = made_for.get("block", 3), made_for.get("size", "native")
    return (block == "final" or type(block) is int) and (size == "native" or type(size) is int)


def as_tokens(features: Tensor) -> Tensor:
    """Features of any backbone as tokens ``b n d``.

    >>> tuple(as_tokens(torch.rand(2, 64, 5, 7)).shape), tuple(as_tokens(torch.rand(2, 512)).shape)
    ((2, 35, 64), (2, 1, 512))
    """
    if features.dim() == 4:
        return features.flatten(2).transpose(1, 2)
    return features if features.dim() == 3 else features[:, None]
