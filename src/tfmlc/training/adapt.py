"""Teaching an adapter to rank blur (ICIP 2023, sections 2.2 and 3.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tfmlc.backbones import Backbone, build_backbone
from tfmlc.config import Config
from tfmlc.data.datasets.triplets import (
    Alignment,
    Augmentation,
    Triplet,
    augmented,
    centred,
    find_triplets,
    split_by_size,
    split_by_video,
)
from tfmlc.data.synthesis.manifest import MANIFEST, file_sha256
from tfmlc.errors import UserError
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.plots import draw_adaptation
from tfmlc.io.checkpoint import CheckpointInfo
from tfmlc.io.files import read_json, write_atomically
from tfmlc.io.locks import run_lock
from tfmlc.losses.adapter import Adapter, MadeFor, Mode, as_tokens
from tfmlc.losses.triplet import distance, ranking_loss
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.loop import Hook, Loop, LoopConfig, Task
from tfmlc.training.schedule import Plateau
from tfmlc.training.state import check_same_recipe

VALIDATED_TOKENS = 256
SHOWN_VIDEOS = 10
CHANCE, WORSE = 0.6, 0.05  # accuracies that are as good as guessing, and differences of no weight


class AdaptConfig(Config):
    """A whole adaptation; defaults are the paper's, but for the views."""

    backbone: str = Field(default="clip-vit-b16", description="name of the backbone")
    weights: str = Field(default="hub", description="weights of the backbone: hub, a file, or random")
    block: int = Field(default=3, ge=0, description="block whose features are adapted, counted from zero")
    mode: Mode = Field(
        default="flatten",
        description="flatten: all tokens as one vector, one image size (the paper); token: each by itself, any size",
    )
    hidden: int = Field(default=1024, ge=1, description="width of the adapter's layers")
    alignment: Alignment = Field(
        default="shared",
        description="shared: the images of a triplet are augmented alike; independent: each separately",
    )
    augmentation: Augmentation = Augmentation()
    views: int = Field(
        default=8,
        ge=0,
        description="augmented views per triplet whose features are computed once; 0: new views in every step",
    )
    sampled_tokens: int = Field(
        default=64, ge=1, description="mode token: tokens that are drawn from each view in every step"
    )
    margin: float = Field(default=1.0, gt=0, description="margin of the triplet loss")
    held_out_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="fraction of the triplets to validate on; the whole videos nearest to it are used",
    )
    epochs: int = Field(default=300, ge=1, description="largest number of epochs")
    patience: int = Field(default=5, ge=1, description="epochs without improvement before the learning rate falls")
    give_up: int = Field(default=30, ge=1, description="epochs without improvement before training ends")
    batch_size: int = Field(default=64, ge=2, description="triplets per step")
    learning_rate: float = Field(default=1e-4, gt=0, description="learning rate of Adam")
    seed: int = Field(default=0, description="seed of everything random")
    licence: str = Field(default="Apache-2.0", description="licence of the adapter, stored with it")


class Views:
    """Batches of triplets: augmented images, or their features if ``views`` of each were made beforehand.

    Item ``index`` depends on the seed and ``index`` alone: every epoch takes each triplet once, in a new order.
    Features are kept in half precision in ``folder/features.npy`` and used again by a resumed run.
    """

    def __init__(
        self, triplets: Sequence[Triplet], backbone: Backbone, config: AdaptConfig, folder: Path, set_sha256: str
    ) -> None:
        self.triplets, self.config, self.set_sha256 = list(triplets), config, set_sha256
        self.features: NDArray[np.float16] | None = None
        if config.views:
            self.features = self._compute(backbone, folder)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        config, (epoch, place) = self.config, divmod(index, len(self.triplets))
        order = np.random.default_rng([config.seed, 1, epoch]).permutation(len(self.triplets))
        row = int(order[place])
        if self.features is None:
            rng = np.random.default_rng([config.seed, 2, index])
            return (augmented(self.triplets[row], config.augmentation, config.alignment, rng),)
        members: NDArray[np.float16] = self.features[row, epoch % config.views]
        if config.mode == "token" and members.shape[1] > config.sampled_tokens:
            rng = np.random.default_rng([config.seed, 3, index])
            members = members[:, rng.permutation(members.shape[1])[: config.sampled_tokens]]
        return (torch.from_numpy(members.astype(np.float32)),)

    def _compute(self, backbone: Backbone, folder: Path) -> NDArray[np.float16]:
        config = self.config
        path, note = folder / "features.npy", folder / "features.json"
        info = {
            "backbone": config.backbone,
            "sha256": backbone.info.sha256,
            "settings": config.model_dump(mode="json", include={"block", "alignment", "augmentation", "views", "seed"}),
            "files": [str(triplet.files[0]) for triplet in self.triplets],
            "set": self.set_sha256,
        }
        with suppress(UserError, OSError, ValueError, EOFError):  # what is missing or damaged is made anew
            if read_json(note) == info:
                return cast("NDArray[np.float16]", np.load(path, mmap_mode="r"))
        folder.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)  # what it described is overwritten now
        made: NDArray[np.float16] | None = None
        with Progress("features", len(self.triplets)) as progress:
            for row, triplet in enumerate(self.triplets):
                for view in range(config.views):
                    rng = np.random.default_rng([config.seed, 2, row, view])
                    images = augmented(triplet, config.augmentation, config.alignment, rng)
                    tokens = features_of(backbone, config, [images])[0]
                    if made is None:
                        shape = (len(self.triplets), config.views, *tokens.shape)
                        made = np.lib.format.open_memmap(path, "w+", np.float16, shape)
                    made[row, view] = tokens.numpy()
                progress.advance()
        write_atomically(note, json.dumps(info).encode())
        return cast("NDArray[np.float16]", made)


class EpochValidation(Hook):
    """Validates after every epoch, tells the schedule, and keeps the best adapter in ``best.safetensors``."""

    def __init__(self, config: AdaptConfig, features: Tensor, schedule: Plateau, epoch_steps: int) -> None:
        super().__init__()
        self.config, self.features, self.schedule, self.epoch_steps = config, features, schedule, epoch_steps
        self.state = {"history": []}

    def after_step(self, loop: Loop) -> None:
        """Validate after the last step of an epoch."""
        if loop.step % self.epoch_steps:
            return
        adapter = cast(Adapter, loop.plain)
        adapter.eval()
        with torch.no_grad():
            distances = adapted_distances(adapter, self.features.to(loop.accelerator.device)).cpu()
        adapter.train()
        loss, rate = float(ranking_loss(list(distances.T), self.config.margin)), self.schedule.rate(loop.step)
        accuracy = ranking_accuracy(distances)
        self.state["history"].append({"loss": round(loss, 6), "accuracy": round(accuracy, 4), "rate": rate})
        if self.schedule.update(loss):
            save_adapter(loop.folder / "best.safetensors", adapter, self.config)


def adapt(folder: Path, output: Path, config: AdaptConfig) -> dict[str, Any]:
    """Train an adapter on a set of triplets; write it to ``output`` and return what it learned.

    The set is split by whole videos, those nearest to ``held_out_fraction``. An unfinished run in ``OUTPUT.run`` is
    taken up; a finished one with the same settings on the same set is not computed again. The result, also written
    beside the adapter as JSON: loss and accuracy by epoch, and triplet accuracy on unseen videos before and after,
    with members cropped alike and each on its own. Triplets smaller than a crop are left out and counted. Raises
    UserError while another run is at work in ``OUTPUT.run``, and where ``output`` was made with other settings.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"an adapter's name ends in .safetensors, {output.name} does not")
    triplets = find_triplets(folder)
    with run_lock(output.with_suffix(".run")):
        backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
        recipe = {
            "adapt": config.model_dump(mode="json", exclude={"licence", "weights"}),
            "set": file_sha256(folder / MANIFEST),
            "weights": backbone.info.sha256,
        }
        if (finished := _finished(output, recipe)) is not None:
            Progress(output.name).say(f"{output.name}: finished before with these settings on this set")
            return finished
        return _adapt(triplets, backbone, output, config, recipe)


def _finished(output: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of an adapter that was made by the same recipe; raises UserError for one of another recipe."""
    path = output.with_suffix(".json")
    if not (output.is_file() and path.is_file()):
        return None
    report = read_learned(output)
    if report.recipe is None:  # of an earlier version, which did not write it down
        return None
    check_same_recipe(output, report.recipe, recipe, "choose another -o")
    return report.model_dump(mode="json") if report.sha256 == Adapter.load(output).info.sha256 else None


def _usable(triplets: list[Triplet], config: AdaptConfig) -> list[Triplet]:
    """Triplets that hold a crop; the others are told, for enlarged they would be no sharp anchors."""
    crop_px = config.augmentation.crop_px
    kept, small = split_by_size(triplets, crop_px)
    if small and not kept:
        raise UserError(f"all {len(small)} triplets are smaller than augmentation.crop_px={crop_px}: set it lower")
    if small:
        Progress("triplets").say(
            f"{len(small)} of {len(triplets)} triplets are smaller than augmentation.crop_px={crop_px} and are left "
            f"out ({', '.join(sorted({triplet.video for triplet in small})[:3])}, ...)"
        )
    return kept


def _adapt(
    triplets: list[Triplet], backbone: Backbone, output: Path, config: AdaptConfig, recipe: dict[str, Any]
) -> dict[str, Any]:
    usable = _usable(triplets, config)
    train, held = split_by_video(usable, config.held_out_fraction, config.seed)
    videos = sorted({triplet.video for triplet in held})
    Progress("split").say(
        f"validation: {len(held)} of {len(usable)} triplets ({len(held) / len(usable):.1%}), all of "
        f"{', '.join(videos[:SHOWN_VIDEOS])}{', ...' if len(videos) > SHOWN_VIDEOS else ''}"
    )
    run = output.with_suffix(".run")
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    views = Views(train, backbone, config, run, recipe["set"])
    validation = _validation_features(backbone, config, held)
    best, history = _train(views, backbone, validation[config.alignment], config, (run, recipe))
    distances = {kind: adapted_distances(best, features) for kind, features in validation.items()}
    accuracy = {
        kind: {"before": ranking_accuracy(plain_distances(features)), "after": ranking_accuracy(distances[kind])}
        for kind, features in validation.items()
    }
    counts = {
        "training": len(train),
        "validation": len(held),
        "validation_fraction": round(len(held) / len(usable), 4),
        "too_small": len(triplets) - len(usable),
    }
    report = {
        "config": config.model_dump(mode="json"),
        "triplets": counts,
        "held_out": videos,
        "epochs": len(history),
        "accuracy": accuracy,
        "history": history,
        "recipe": recipe,
        "sha256": save_adapter(output, best, config).sha256,
    }
    report = write_result(output.with_suffix(".json"), report)
    margins = {kind: (values[:, -1] - values[:, 0]).numpy() for kind, values in distances.items()}
    draw_adaptation(output.with_suffix(".png"), report["history"], margins, config.margin)
    if line := warning_of(report):
        Progress(output.name).say(f"{output.name}: {line}")
    (run / "features.npy").unlink(missing_ok=True)  # large, and made again if need be
    return report


def _validation_features(backbone: Backbone, config: AdaptConfig, held: list[Triplet]) -> dict[str, Tensor]:
    """Features of the held-out triplets, with members cropped alike and each on its own."""
    crop_px = config.augmentation.crop_px
    features = {
        "shared": features_of(backbone, config, [centred(triplet, crop_px) for triplet in held]),
        "independent": features_of(backbone, config, _independent_views(held, config)),
    }
    tokens = features["shared"].shape[-2]
    if config.mode == "token" and tokens > VALIDATED_TOKENS:  # a part of the tokens gives the mean well enough
        chosen = torch.linspace(0, tokens - 1, VALIDATED_TOKENS).long()
        features = {kind: values[:, :, chosen] for kind, values in features.items()}
    return features


def _train(
    views: Views, backbone: Backbone, validation: Tensor, config: AdaptConfig, run: tuple[Path, dict[str, Any]]
) -> tuple[Adapter, list[dict[str, Any]]]:
    """Train in the folder ``run``, by its recipe; return the best adapter and the validation of every epoch."""
    folder, recipe = run
    tokens, width = validation.shape[-2:]
    made_for = MadeFor(config.backbone, config.block, config.augmentation.crop_px)
    torch.manual_seed(config.seed)
    adapter = Adapter(mode=config.mode, tokens=tokens, width=width, hidden=config.hidden, made_for=made_for)
    batch = min(config.batch_size, len(views.triplets))
    epoch_steps = max(1, len(views.triplets) // batch)
    loop_config = LoopConfig(
        steps=config.epochs * epoch_steps,
        batch_size=batch,
        learning_rate=config.learning_rate,
        warmup_steps=0,
        betas=(0.9, 0.999),
        gradient_clip=1e6,
        ema_decay=0.0,
        precision="fp32",
        workers=0,
        save_every_steps=10 * epoch_steps,
        seed=config.seed,
    )

    def objective(module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        members = batch[0] if config.views else features_of(backbone, config, list(batch[0])).to(batch[0].device)
        distances = adapted_distances(module, members)
        return {
            "loss": ranking_loss(list(distances.T), config.margin),
            "accuracy": torch.tensor(ranking_accuracy(distances.detach())),
        }

    schedule = Plateau(config.learning_rate, patience=config.patience, give_up=config.give_up)
    hook = EpochValidation(config, validation, schedule, epoch_steps)
    task = Task(adapter, objective, views)
    Loop(task, loop_config, folder, schedule=schedule, hooks=[hook], recipe=recipe).resume().run()
    return Adapter.load(folder / "best.safetensors"), hook.state["history"]


def warning_of(report: dict[str, Any]) -> str | None:
    """A line where an adapter ranks unseen triplets no better than the frozen features, or hardly any at all."""
    alignment = report["config"]["alignment"]
    accuracy = report["accuracy"][alignment]
    if accuracy["after"] > max(accuracy["before"] - WORSE, CHANCE):
        return None
    return (
        f"the adapter did not learn to rank unseen triplets with members cropped {alignment}: "
        f"{accuracy['before']:.2f} before, {accuracy['after']:.2f} after; more triplets of more contents may help"
    )


def save_adapter(path: Path, adapter: Adapter, config: AdaptConfig) -> CheckpointInfo:
    """Write the adapter with its origin; return what the file says of itself."""
    origin = f"trained by tfmlc adapt on {config.backbone} block {config.block}, {config.alignment} augmentation"
    return adapter.save(path, origin=origin, licence=config.licence)


def features_of(backbone: Backbone, config: AdaptConfig, members: Sequence[Tensor]) -> Tensor:
    """Features of triplets' images, each ``m 3 h w``: ``b m n d``."""
    with torch.no_grad():
        device = backbone.mean.device
        return torch.stack([as_tokens(backbone(images.to(device), block=config.block)).cpu() for images in members])


def adapted_distances(adapter: nn.Module, features: Tensor) -> Tensor:
    """Distances ``b levels`` of the blurs' embeddings to the sharp anchor's, from features ``b m n d``."""
    batch, members = features.shape[:2]
    embedded: Tensor = adapter(features.flatten(0, 1))
    tokens = as_tokens(embedded)
    return plain_distances(tokens.view(batch, members, *tokens.shape[1:]))


def plain_distances(features: Tensor) -> Tensor:
    """Distances ``b levels`` of the features themselves."""
    return torch.stack([distance(features[:, 0], features[:, level]) for level in range(1, features.shape[1])], dim=1)


def ranking_accuracy(distances: Tensor) -> float:
    """Share of the pairs of levels, over all triplets, in which the stronger blur is farther from the sharp image."""
    levels = range(distances.shape[1])
    pairs = [distances[:, i] < distances[:, j] for i in levels for j in levels if i < j]
    return float(torch.stack(pairs).float().mean()) if pairs else float("nan")


def _independent_views(triplets: Sequence[Triplet], config: AdaptConfig) -> list[Tensor]:
    return [
        augmented(triplet, config.augmentation, "independent", np.random.default_rng([config.seed, 4, row]))
        for row, triplet in enumerate(triplets)
    ]
