"""What a deblurring network minimises: its pixel loss, a feature loss beside it, and the weight of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tfmlc.backbones import RANDOM, build_backbone
from tfmlc.config import Config
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.losses import Adapter, BaselineLoss, FeatureMatchingLoss, hinet_objective, mprnet_objective, psnr_loss
from tfmlc.losses.adapter import DEFAULT_BLOCK, Mode, as_tokens, read_made_for
from tfmlc.losses.objectives import HINET_WEIGHT, MPRNET_WEIGHT

SMALLEST = 1e-12
FeatureLoss = Callable[[Sequence[Tensor], Tensor], Tensor]


class LossConfig(Config):
    """The loss beside the pixels: ``origin`` is none, ``fmlc`` frozen features, ``tfmlc`` adapted ones."""

    kind: Literal["origin", "fmlc", "tfmlc", "LPIPS-alex", "LPIPS-vgg", "DISTS"] = "origin"
    weight: float | Literal["paper", "auto"] = Field(
        default="paper", description="paper: 1000 for hinet, 1 for mprnet; auto: from gradients, see gradient_ratio"
    )
    gradient_ratio: float = Field(
        default=1.0, gt=0, description="auto: norm of the feature loss's gradient relative to that of the pixel loss"
    )
    auto_steps: int = Field(default=10, ge=1, description="auto: batches on which the gradients are measured")
    backbone: str = "clip-vit-b16"
    weights: str = Field(default="hub", description="of the backbone: hub, a file, or random")
    block: Annotated[int, Field(ge=0)] | Literal["final"] = 3
    adapter: str | None = Field(default=None, description="tfmlc: file of the adapter, or random")
    adapter_mode: Mode = Field(default="flatten", description="of a random adapter")

    @model_validator(mode="after")
    def _check_adapter(self) -> LossConfig:
        if self.kind == "tfmlc" and self.adapter is None:
            raise ValueError("tfmlc needs loss.adapter=FILE, which tfmlc adapt makes or the paper's authors published")
        return self


class Restoration:
    """Objective of a run: ``objective(network, (blurry, sharp))`` gives the loss and its parts.

    The pixel loss is that of HINet (half the negative PSNR) or MPRNet (Charbonnier and edge), the feature loss
    comes with ``weight`` (ICIP 2023, section 3.2); both are summed over the stages. ``gain_db`` is the last stage's
    PSNR above the blurry input's.
    """

    def __init__(self, network: str, feature_loss: FeatureLoss | None = None, weight: float = 0.0) -> None:
        self.pixels = mprnet_objective if network.startswith("mprnet") else hinet_objective
        self.feature_loss, self.weight = feature_loss, weight

    def __call__(self, network: nn.Module, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        blurry, sharp = batch[:2]
        return self.of_stages(network(blurry), blurry, sharp)

    def of_stages(self, stages: Sequence[Tensor], blurry: Tensor, sharp: Tensor) -> dict[str, Tensor]:
        """The values for stages that were computed already."""
        values = self.parts(stages, sharp)
        loss = values["pixels"]
        if "features" in values:
            loss = loss + self.weight * values["features"]
        gain = psnr_loss(blurry, sharp) - psnr_loss(stages[-1].detach().float(), sharp)
        return {"loss": loss, **values, "gain_db": gain}

    def parts(self, stages: Sequence[Tensor], sharp: Tensor) -> dict[str, Tensor]:
        """Pixel loss and feature loss, without weights."""
        stages = [stage.float() for stage in stages]
        values = {"pixels": self.pixels(stages, sharp)}
        if self.feature_loss is not None:
            values["features"] = self.feature_loss(stages, sharp)
        return values


def build_feature_loss(config: LossConfig, device: torch.device) -> FeatureLoss | None:
    """The loss beside the pixels, or None; raises UserError where weights or files are missing or do not fit."""
    if config.kind == "origin":
        return None
    if config.kind in ("LPIPS-alex", "LPIPS-vgg", "DISTS"):
        return BaselineLoss(config.kind).to(device)
    weights = config.weights
    if config.kind == "tfmlc" and config.adapter not in (None, RANDOM):
        path = Path(str(config.adapter))
        if not path.is_file():
            raise UserError(f"there is no adapter {path} (loss.adapter): tfmlc adapt makes one")
        return FeatureMatchingLoss.load(path, weights=weights).to(device)
    backbone = build_backbone(config.backbone, weights, last_block=config.block)
    adapter = None
    if config.kind == "tfmlc":
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            features = backbone(torch.zeros(1, 3, 224, 224), config.block)
            tokens, width = as_tokens(features).shape[1:]
            adapter = Adapter(mode=config.adapter_mode, tokens=tokens, width=width)
    return FeatureMatchingLoss(backbone, block=config.block, adapter=adapter).to(device)


def adapter_settings(path: Path) -> dict[str, Any]:
    """Backbone, block and mode that an adapter's file, ours or the authors', asks for, as settings of the loss."""
    tensors, info = read_tensors(path)
    if any(name.startswith("mlp.") for name in tensors):  # the authors' files imply them
        return {"backbone": "clip-vit-b16", "block": 3, "adapter_mode": "flatten"}
    if info.kind != "adapter":
        raise UserError(f"{path} (loss.adapter) holds no adapter: {info.kind or 'weights of another program'}")
    made_for = read_made_for(path, info)
    block = DEFAULT_BLOCK if made_for is None else made_for.block
    return {"backbone": info.name, "block": block, "adapter_mode": info.hyperparameters.get("mode", "flatten")}


def paper_weight(network: str) -> float:
    """The weight of the feature loss in the paper."""
    return MPRNET_WEIGHT if network.startswith("mprnet") else HINET_WEIGHT


def balanced_weight(
    objective: Restoration, network: nn.Module, batches: Iterable[Sequence[Tensor]], share: float
) -> tuple[float, list[dict[str, Any]]]:
    """Weight at which the feature loss's gradient has ``share`` times the norm of the pixel loss's.

    Gradients are those of the network's weights, on each of ``batches``; the answer is the median, and the norms.
    """
    parameters = [value for value in network.parameters() if value.requires_grad]
    rows: list[dict[str, Any]] = []
    for blurry, sharp in batches:
        values = objective.parts(network(blurry), sharp)
        norms: dict[str, float] = {}
        for place, (name, value) in enumerate(values.items()):
            gradients = torch.autograd.grad(value, parameters, retain_graph=place == 0)
            squares = [gradient.double().square().sum() for gradient in gradients]
            norms[name] = float(torch.stack(squares).sum().sqrt())
        rows.append({**norms, "weight": share * norms["pixels"] / max(norms["features"], SMALLEST)})
    weights = sorted(row["weight"] for row in rows)
    return weights[len(weights) // 2], rows
