"""Training of an adapter that ranks blur (ICIP 2023, sections 2.2 and 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tfmlc.backbones import RANDOM, Backbone, build_backbone
from tfmlc.errors import UserError
from tfmlc.evaluation.diagnose import read_learned
from tfmlc.evaluation.plots import draw_adaptation
from tfmlc.io.files import remove_leftovers
from tfmlc.io.locks import run_lock
from tfmlc.losses.adapter import Adapter, MadeFor
from tfmlc.losses.triplet import ranking_loss
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress
from tfmlc.training.adapt_config import AdaptConfig
from tfmlc.training.adapt_data import AdaptData, fingerprint_of_data, load_data
from tfmlc.training.loop import Loop
from tfmlc.training.loop_config import LoopConfig
from tfmlc.training.ranking import EpochValidation, adapted_distances, plain_distances, ranking_accuracy, save_adapter
from tfmlc.training.schedule import Plateau
from tfmlc.training.state import check_same_recipe
from tfmlc.training.task import Task
from tfmlc.training.views import Views, features_of, validation_features

SHOWN_VIDEOS = 10
CHANCE, WORSE = 0.6, 0.05  # an accuracy that is no better than guessing, and a difference that does not matter


def adapt(folder: Path, output: Path, config: AdaptConfig) -> dict[str, Any]:
    """Train an adapter on a set of triplets, or on triplets that are made from sharp photos on the fly.

    The triplets are split into training and validation triplets by whole videos or photos. Those smaller than a crop
    are left out and counted. The run is kept in ``OUTPUT.run``, and an interrupted run continues from there. If
    ``output`` exists already with the same settings and the same set, nothing is computed.

    Args:
        folder: The folder of the triplets, or a folder of sharp photos.
        output: The file for the adapter, ``.safetensors``. The report goes to a JSON file of the same name, and a
            figure to a PNG file.
        config: The settings.

    Returns:
        The report: loss and accuracy of each epoch, and the accuracy on the validation triplets before and after
        training, with each kind of augmentation.

    Raises:
        UserError: If there are no triplets, the weights are not available, ``output`` was made with other settings,
            or another run is working in ``OUTPUT.run``.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"{output.name} is not a name for an adapter: it must end in .safetensors")
    data = None if output.is_file() else load_data(folder, config)  # a finished adapter needs none
    with run_lock(output.with_suffix(".run")):
        backbone = build_backbone(config.backbone, config.weights, last_block=config.block)
        recipe = {
            "adapt": config.model_dump(mode="json", exclude={"licence", "weights"}),
            "set": fingerprint_of_data(folder, config),
            "weights": backbone.info.sha256,
        }
        if (finished := _finished(output, recipe)) is not None:
            Progress(output.name).say(f"{output.name}: an earlier run with the same settings and set has finished")
            return finished
        remove_leftovers(output.parent)
        return _adapt(data or load_data(folder, config), backbone, output, config, recipe)


def _finished(output: Path, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report of an adapter made with the same recipe; raises UserError if its recipe is another."""
    path = output.with_suffix(".json")
    if not (output.is_file() and path.is_file()):
        return None
    report = read_learned(output)
    if report.recipe is None:  # earlier versions did not record the recipe
        return None
    check_same_recipe(output, report.recipe, recipe, "choose another -o")
    return report.model_dump(mode="json") if report.sha256 == Adapter.load(output).info.sha256 else None


def _adapt(
    data: AdaptData, backbone: Backbone, output: Path, config: AdaptConfig, recipe: dict[str, Any]
) -> dict[str, Any]:
    counts = data.counts()
    Progress("split").say(
        f"validation: {counts['validation']} of {counts['validation'] + counts['training']} triplets "
        f"({counts['validation_fraction']:.1%}), all of "
        f"{', '.join(data.held_out[:SHOWN_VIDEOS])}{', ...' if len(data.held_out) > SHOWN_VIDEOS else ''}"
    )
    run = output.with_suffix(".run")
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    views = Views(data.training, backbone, config, run, recipe["set"])
    validation = validation_features(backbone, config, data.validation)
    best, history = _train(views, backbone, validation[config.alignment], config, (run, recipe))
    distances = {kind: adapted_distances(best, features) for kind, features in validation.items()}
    accuracy = {
        kind: {"before": ranking_accuracy(plain_distances(features)), "after": ranking_accuracy(distances[kind])}
        for kind, features in validation.items()
    }
    report = {
        "config": config.model_dump(mode="json"),
        "triplets": counts,
        "held_out": data.held_out,
        "epochs": len(history),
        "accuracy": accuracy,
        "history": history,
        "recipe": recipe,
        "sha256": save_adapter(output, best, config).sha256,
    }
    margins = {kind: (values[:, -1] - values[:, 0]).numpy() for kind, values in distances.items()}
    draw_adaptation(output.with_suffix(".png"), history, margins, config.margin)
    (run / "features.npy").unlink(missing_ok=True)  # large, and computed again if needed
    if line := warning_of(report):
        Progress(output.name).say(f"{output.name}: {line}")
    return write_result(output.with_suffix(".json"), report)  # the last file: it says that the run has finished


def _train(
    views: Views, backbone: Backbone, validation: Tensor, config: AdaptConfig, run: tuple[Path, dict[str, Any]]
) -> tuple[Adapter, list[dict[str, Any]]]:
    """Train in the folder of the run; return the best adapter and the validation of every epoch.

    ``run`` is the folder and the recipe.
    """
    folder, recipe = run
    tokens, width = validation.shape[-2:]
    size = config.augmentation.crop_px if config.mode == "flatten" else "native"
    made_for = MadeFor(config.backbone, config.block, size, backbone.info.sha256 or RANDOM)
    torch.manual_seed(config.seed)
    adapter = Adapter(mode=config.mode, tokens=tokens, width=width, hidden=config.hidden, made_for=made_for)
    count = len(views.triplets.names)
    batch = min(config.batch_size, count)
    epoch_steps = max(1, count // batch)

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
    loop_config = _loop_config(config, batch, epoch_steps)
    Loop(task, loop_config, folder, schedule=schedule, hooks=[hook], recipe=recipe).resume().run()
    return Adapter.load(folder / "best.safetensors"), hook.state["history"]


def _loop_config(config: AdaptConfig, batch_size: int, epoch_steps: int) -> LoopConfig:
    return LoopConfig(
        steps=config.epochs * epoch_steps,
        batch_size=batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=0,
        betas=(0.9, 0.999),
        gradient_clip=1e6,
        ema_decay=0.0,
        precision="fp32",
        workers=0,
        save_every_steps=epoch_steps * (10 if config.views else 1),  # an epoch of new views takes long
        seed=config.seed,
    )


def warning_of(report: dict[str, Any]) -> str | None:
    """Return a warning if an adapter ranks the validation triplets worse than the frozen features, or by chance.

    Args:
        report: The report of ``adapt``.

    Returns:
        One line, or None.
    """
    alignment = report["config"]["alignment"]
    accuracy = report["accuracy"][alignment]
    if accuracy["after"] > max(accuracy["before"] - WORSE, CHANCE):
        return None
    return (
        f"the adapter did not learn to rank the validation triplets with {alignment} crops: "
        f"accuracy {accuracy['before']:.2f} before, {accuracy['after']:.2f} after; "
        "more triplets with different contents may help"
    )
