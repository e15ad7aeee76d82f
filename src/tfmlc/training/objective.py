"""The objective of a deblurring network: its pixel loss, a feature loss, and the weight of the feature loss."""

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
from tfmlc.typed import is_record

SMALLEST = 1e-12
LEAST_ERROR = 1e-6
WITH_A_PAPER = {"control", "fmlc", "tfmlc"}  # kinds of loss; the paper weighs the last two


class LossConfig(Config):
    """The settings of the feature loss."""

    kind: Literal["control", "default", "fmlc", "tfmlc", "LPIPS-alex", "LPIPS-vgg", "DISTS"] = Field(
        default="control",
        description="control: pixel loss only; default: the loss that ships; fmlc: frozen features; tfmlc: adapted "
        "features; or a baseline",
    )
    weight: Annotated[float, Field(ge=0)] | Literal["paper", "auto"] = Field(
        default="paper",
        description="weight of the feature loss; paper (fmlc and tfmlc): 1000 for hinet, 1 for mprnet; auto: from "
        "gradient_ratio, which the other losses have if no weight is given",
    )
    gradient_ratio: float = Field(
        default=1.0,
        gt=0,
        description="weight=auto: norm of the feature loss's gradient, relative to that of the pixel loss",
    )
    auto_steps: int = Field(
        default=10, ge=1, description="weight=auto: number of batches on which the gradients are measured"
    )
    backbone: str = Field(
        default="clip-vit-b16", description="fmlc: name of the backbone; tfmlc reads it from the adapter's file"
    )
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    block: Annotated[int, Field(ge=0)] | Literal["final"] = Field(
        default=3, description="fmlc: block whose features are compared, counted from zero"
    )
    offset: Literal["none", "random"] = Field(
        default="none", description="default, fmlc and tfmlc: random moves the grid of patches at each step"
    )
    size: Annotated[int, Field(gt=0)] | Literal["native"] | None = Field(
        default=None,
        description="side in px to which images are resized, or native; None: 224, what the adapter was made for, or "
        "native for the loss that ships",
    )
    adapter: str | None = Field(default=None, description="tfmlc: file of the adapter; random: random weights")
    adapter_mode: Mode = Field(default="flatten", description="mode of a random adapter")

    @model_validator(mode="before")
    @classmethod
    def _weigh_losses_without_a_paper(cls, values: Any) -> Any:
        if is_record(values) and values.get("kind", "control") not in WITH_A_PAPER:
            return {"weight": "auto", **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> LossConfig:
        if self.kind == "tfmlc" and self.adapter is None:
            raise ValueError("tfmlc needs loss.adapter=FILE: train one with tfmlc adapt, or use one of the authors'")
        if self.weight == "paper" and self.kind not in WITH_A_PAPER:
            raise ValueError(f"the paper has no weight for the loss {self.kind}: set loss.weight=auto, or a number")
        return self

    def used(self) -> set[str]:
        """Return the names of the settings that have an effect, apart from ``kind``."""
        if self.kind == "control":
            return set()
        weight = {"weight", "gradient_ratio", "auto_steps"} if self.weight == "auto" else {"weight"}
        own = {
            "default": {"offset", "size"},
            "fmlc": {"backbone", "weights", "block", "offset", "size"},
            "tfmlc": {"backbone", "weights", "block", "offset", "size", "adapter", "adapter_mode"},
        }
        return weight | own.get(self.kind, set())


class Restoration:
    """The objective of a run (ICIP 2023, section 3.2).

    ``objective(module, batch)`` returns the loss and its parts, each a scalar. ``batch`` is ``(blurry, sharp)``, or
    ``(blurry, sharp, spectrum)`` if the module has the second task. Among the parts, ``gain_db`` is the PSNR of the
    last stage minus the PSNR of the blurry input.

    Args:
        family: The family of the network, a key of ``OBJECTIVES``. It determines the pixel loss.
        feature_loss: The feature loss, or None.
        weight: The weight of the feature loss. None takes the paper's.
        mesh: The weight of ``mesh_ratio``.
        motion: The weight of the error of the predicted spectra. If it is not 0, the module must have the second task.

    Example:
        >>> from tfmlc.networks import build_network
        >>> network = build_network("hinet", width=8, depth=3, normalised_levels=(1, 2))
        >>> images = torch.rand(2, 1, 3, 16, 16)
        >>> list(Restoration("hinet")(network, (images[0], images[1])))
        ['loss', 'pixels', 'gain_db']
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
        """Return the pixel loss and the feature loss of the stages, without weights."""
        return self.paper.parts([stage.float() for stage in stages], sharp, self.feature_loss)


def spectrum_error(spectra: Sequence[Tensor], spectrum: Tensor) -> Tensor:
    """Return the mean squared error of predicted blur spectra. Cells of NaN, whose blur is not known, do not count.

    >>> spectrum = torch.tensor([[[[0.5, torch.nan]]]])
    >>> spectrum_error([torch.zeros(1, 1, 1, 2)], spectrum)
    tensor(0.2500)
    """
    known, spectrum = spectrum.isfinite(), spectrum.nan_to_num()
    squares = torch.stack([((predicted - spectrum).square() * known).sum() for predicted in spectra]).mean()
    return squares / known.sum().clamp(min=1)


def mesh_ratio(error: Tensor, period_px: int = 4) -> Tensor:
    """Measure how much of an error is a pattern that repeats every few px.

    The error is averaged over all cells of ``period_px`` x ``period_px``. The result is the variance of the means,
    relative to the variance that noise would have.

    Args:
        error: Restored minus sharp images, ``b c h w``.
        period_px: The side of a cell.

    Returns:
        A scalar: about 1 for noise, more for a pattern.

    Example:
        >>> pattern = torch.eye(4).repeat(16, 16)[None, None]
        >>> mesh_ratio(torch.randn(1, 1, 64, 64)) < 3 < mesh_ratio(pattern)
        tensor(True)
    """
    height, width = (side - side % period_px for side in error.shape[-2:])
    rows, columns = height // period_px, width // period_px
    split = error[..., :height, :width].reshape(*error.shape[:2], rows, period_px, columns, period_px)
    means = split.mean(dim=(2, 4))  # b c period period
    centred: Tensor = means - means.mean(dim=(-2, -1), keepdim=True)
    expected = error.detach().square().mean(dim=(-3, -2, -1)) / (rows * columns)
    return (centred.square().mean(dim=(1, 2, 3)) / expected.clamp(min=LEAST_ERROR**2)).mean()


def build_feature_loss(config: LossConfig, device: torch.device) -> FeatureLoss | None:
    """Build the feature loss of the settings.

    Args:
        config: The settings.
        device: The device for the loss.

    Returns:
        The loss, or None for ``kind="control"``.

    Raises:
        UserError: If weights or files are missing or do not fit.

    Example:
        >>> build_feature_loss(LossConfig(kind="control"), torch.device("cpu")) is None
        True
    """
    build = FEATURE_LOSSES[config.kind]
    return None if build is None else build(config).to(device)


def _baseline(config: LossConfig) -> nn.Module:
    return BaselineLoss(cast(Baseline, config.kind))


def _default(config: LossConfig) -> nn.Module:
    return FeatureMatchingLoss(size=config.size, offset=config.offset)


def _fmlc(config: LossConfig) -> nn.Module:
    backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
    return FeatureMatchingLoss(backbone, block=config.block, size=config.size, offset=config.offset)


def _tfmlc(config: LossConfig) -> nn.Module:
    if config.adapter == RANDOM:
        backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
        adapter = _random_adapter(backbone, config)
        return FeatureMatchingLoss(
            backbone, block=config.block, adapter=adapter, size=config.size, offset=config.offset
        )
    path = Path(str(config.adapter))
    if not path.is_file():
        raise UserError(f"loss.adapter names the file {path}, which does not exist: train an adapter with tfmlc adapt")
    return FeatureMatchingLoss.load(path, weights=config.weights, size=config.size, offset=config.offset)


def _random_adapter(backbone: Backbone, config: LossConfig) -> Adapter:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = backbone(torch.zeros(1, 3, 224, 224), config.block)
        tokens, width = as_tokens(features).shape[1:]
        return Adapter(mode=config.adapter_mode, tokens=tokens, width=width)


FEATURE_LOSSES: dict[str, Callable[[LossConfig], nn.Module] | None] = {
    "control": None,
    "default": _default,
    "fmlc": _fmlc,
    "tfmlc": _tfmlc,
    "LPIPS-alex": _baseline,
    "LPIPS-vgg": _baseline,
    "DISTS": _baseline,
}


def adapter_settings(path: Path) -> dict[str, Any]:
    """Read the settings of the loss that an adapter's file determines.

    Args:
        path: A file of ``tfmlc adapt``, or a checkpoint that the paper's authors published.

    Returns:
        The backbone, the block and the mode.

    Raises:
        UserError: If the file is not an adapter or cannot be read.
    """
    tensors, info = read_tensors(path)
    if any(name.startswith("mlp.") for name in tensors):  # the authors' checkpoints are all of this kind
        return {"backbone": "clip-vit-b16", "block": 3, "adapter_mode": "flatten"}
    if info.kind != "adapter":
        held = info.kind or "weights of another program"
        raise UserError(f"loss.adapter names {path}, which is not an adapter but {held}: train one with tfmlc adapt")
    made_for = read_made_for(path, info)
    block = DEFAULT_BLOCK if made_for is None else made_for.block
    return {"backbone": info.name, "block": block, "adapter_mode": info.hyperparameters.get("mode", "flatten")}


def balanced_weight(
    objective: Restoration, network: nn.Module, batches: Iterable[Sequence[Tensor]], ratio: float
) -> tuple[float, list[dict[str, Any]]]:
    """Measure the weight at which the gradient of the feature loss has ``ratio`` times the norm of the pixel loss's.

    Args:
        objective: The objective, with a feature loss.
        network: The network. The gradients are those of its weights.
        batches: Batches of blurry and sharp images.
        ratio: The desired ratio of the norms.

    Returns:
        The median weight over the batches; and for each batch the norms and the weight.
    """
    parameters = [value for value in network.parameters() if value.requires_grad]
    rows: list[dict[str, Any]] = []
    for blurry, sharp in batches:
        values = objective.parts(network(blurry), sharp)
        norms: dict[str, float] = {}
        for place, (name, value) in enumerate(values.items()):
            gradients = torch.autograd.grad(value, parameters, retain_graph=place == 0, materialize_grads=True)
            squares = [gradient.double().square().sum() for gradient in gradients]
            norms[name] = float(torch.stack(squares).sum().sqrt())
        rows.append({**norms, "weight": ratio * norms["pixels"] / max(norms["features"], SMALLEST)})
    weights = sorted(row["weight"] for row in rows)
    return weights[len(weights) // 2], rows
