"""What a deblurring network minimises: its pixel loss, a feature loss beside it, and the weight of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tfmlc.backbones import RANDOM, Backbone, build_backbone
from tfmlc.config import Config
from tfmlc.errors import UserError
from tfmlc.io.checkpoint import read_tensors
from tfmlc.losses import Adapter, BaselineLoss, FeatureMatchingLoss, psnr_loss
from tfmlc.losses.adapter import DEFAULT_BLOCK, Mode, as_tokens, read_made_for
from tfmlc.losses.baselines import Baseline
from tfmlc.losses.objectives import OBJECTIVES, FeatureLoss

SMALLEST = 1e-12
LEAST_ERROR = 1e-6


class LossConfig(Config):
    """The loss beside the pixels: ``control`` is none, ``fmlc`` frozen features, ``tfmlc`` adapted ones."""

    kind: Literal["control", "fmlc", "tfmlc", "LPIPS-alex", "LPIPS-vgg", "DISTS"] = Field(
        default="control",
        description="control: pixel loss only; fmlc: frozen features; tfmlc: adapted features; or a baseline",
    )
    weight: float | Literal["paper", "auto"] = Field(
        default="paper",
        description="a number; paper: 1000 for hinet, 1 for mprnet; auto: from the gradients, see gradient_ratio",
    )
    gradient_ratio: float = Field(
        default=1.0, gt=0, description="auto: norm of the feature loss's gradient relative to the pixel loss's"
    )
    auto_steps: int = Field(default=10, ge=1, description="auto: number of batches on which the gradients are measured")
    backbone: str = Field(
        default="clip-vit-b16", description="fmlc: name of the backbone; tfmlc takes it from the adapter's file"
    )
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    block: Annotated[int, Field(ge=0)] | Literal["final"] = Field(
        default=3, description="fmlc: block whose features are compared, counted from zero"
    )
    adapter: str | None = Field(default=None, description="tfmlc: file of the adapter, or random")
    adapter_mode: Mode = Field(default="flatten", description="mode of a random adapter")

    @model_validator(mode="after")
    def _check_adapter(self) -> LossConfig:
        if self.kind == "tfmlc" and self.adapter is None:
            raise ValueError("tfmlc needs loss.adapter=FILE, which tfmlc adapt makes or the paper's authors published")
        return self


class Restoration:
    """Objective of a run: ``objective(module, batch)`` returns the loss and its parts, each a scalar.

    ``batch`` is ``(blurry, sharp)``, or ``(blurry, sharp, spectrum)`` for a module with a motion task. The objective of
    the network's ``family`` (ICIP 2023, section 3.2) takes the feature loss with ``weight``, by default the paper's.
    ``mesh`` weighs ``mesh_ratio``, ``motion`` the error of the predicted blur spectrum. ``gain_db`` is the PSNR of the
    last stage minus that of the blurry input.
    """

    def __init__(
        self,
        family: str,
        feature_loss: FeatureLoss | None = None,
        weight: float | None = None,
        *,
        mesh: float = 0.0,
        motion: float = 0.0,
    ) -> None:
        self.paper, self.feature_loss = OBJECTIVES[family], feature_loss
        self.weight = self.paper.weight if weight is None else weight
        self.mesh, self.motion = mesh, motion

    def __call__(self, module: nn.Module, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        blurry, sharp = batch[:2]
        spectra: Sequence[Tensor] = ()
        if self.motion:
            stages, spectra = cast("tuple[Sequence[Tensor], Sequence[Tensor]]", module(blurry))
        else:
            stages = cast("Sequence[Tensor]", module(blurry))
        values = self.parts(stages, sharp)
        loss = self.paper.total(values, self.weight)
        if self.mesh:
            values["mesh"] = mesh_ratio(stages[-1].float() - sharp)
            loss = loss + self.mesh * values["mesh"]
        if self.motion:
            values["spectrum_error"] = spectrum_error(spectra, batch[2])
            loss = loss + self.motion * 5 * torch.log10(values["spectrum_error"] + LEAST_ERROR)
        gain = psnr_loss(blurry, sharp) - psnr_loss(stages[-1].detach().float(), sharp)
        return {"loss": loss, **values, "gain_db": gain}

    def parts(self, stages: Sequence[Tensor], sharp: Tensor) -> dict[str, Tensor]:
        """Pixel loss and feature loss, without weights."""
        return self.paper.parts([stage.float() for stage in stages], sharp, self.feature_loss)


def spectrum_error(spectra: Sequence[Tensor], spectrum: Tensor) -> Tensor:
    """Mean squared error of predicted blur spectra; cells of NaN, whose blur is not known, do not count."""
    known, spectrum = spectrum.isfinite(), spectrum.nan_to_num()
    squares = torch.stack([((predicted - spectrum).square() * known).sum() for predicted in spectra]).mean()
    return squares / known.sum().clamp(min=1)


def mesh_ratio(error: Tensor, period_px: int = 4) -> Tensor:
    """How much of an error ``b c h w`` repeats every 4 px, relative to an error without a pattern.

    The error is averaged over all cells of 4x4 px. The variance of the 16 means is about 1 for noise, in units of what
    it is expected to be.
    """
    height, width = (side - side % period_px for side in error.shape[-2:])
    rows, columns = height // period_px, width // period_px
    split = error[..., :height, :width].reshape(*error.shape[:2], rows, period_px, columns, period_px)
    means = split.mean(dim=(2, 4))  # b c period period
    centred: Tensor = means - means.mean(dim=(-2, -1), keepdim=True)
    expected = error.detach().square().mean(dim=(-3, -2, -1)) / (rows * columns)
    return (centred.square().mean(dim=(1, 2, 3)) / expected.clamp(min=LEAST_ERROR**2)).mean()


def build_feature_loss(config: LossConfig, device: torch.device) -> FeatureLoss | None:
    """The loss beside the pixels, or None; raises UserError where weights or files are missing or do not fit."""
    build = FEATURE_LOSSES[config.kind]
    return None if build is None else build(config).to(device)


def _baseline(config: LossConfig) -> nn.Module:
    return BaselineLoss(cast(Baseline, config.kind))


def _fmlc(config: LossConfig) -> nn.Module:
    backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
    return FeatureMatchingLoss(backbone, block=config.block)


def _tfmlc(config: LossConfig) -> nn.Module:
    if config.adapter == RANDOM:
        backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
        adapter = _random_adapter(backbone, config)
        return FeatureMatchingLoss(backbone, block=config.block, adapter=adapter)
    path = Path(str(config.adapter))
    if not path.is_file():
        raise UserError(f"there is no adapter {path} (loss.adapter): tfmlc adapt makes one")
    return FeatureMatchingLoss.load(path, weights=config.weights)


def _random_adapter(backbone: Backbone, config: LossConfig) -> Adapter:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = backbone(torch.zeros(1, 3, 224, 224), config.block)
        tokens, width = as_tokens(features).shape[1:]
        return Adapter(mode=config.adapter_mode, tokens=tokens, width=width)


FEATURE_LOSSES: dict[str, Callable[[LossConfig], nn.Module] | None] = {
    "control": None,
    "fmlc": _fmlc,
    "tfmlc": _tfmlc,
    "LPIPS-alex": _baseline,
    "LPIPS-vgg": _baseline,
    "DISTS": _baseline,
}


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


def balanced_weight(
    objective: Restoration, network: nn.Module, batches: Iterable[Sequence[Tensor]], ratio: float
) -> tuple[float, list[dict[str, Any]]]:
    """Weight at which the feature loss's gradient has ``ratio`` times the norm of the pixel loss's.

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
        rows.append({**norms, "weight": ratio * norms["pixels"] / max(norms["features"], SMALLEST)})
    weights = sorted(row["weight"] for row in rows)
    return weights[len(weights) // 2], rows
