"""The same run with several weights of the feature loss, to compare PSNR with LPIPS."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tfmlc.config import checked
from tfmlc.errors import UserError
from tfmlc.evaluation.plots import draw_sweep
from tfmlc.results import write_result
from tfmlc.training.state import last_scores
from tfmlc.training.train import TrainConfig, train_network

SCORES = ["psnr", "lpips"]


def sweep_ratios(config: TrainConfig, folder: Path, ratios: str, *, force: bool = False) -> str:
    """Train once for each gradient ratio, and once without the feature loss.

    Every run is scored on ``validation.pairs`` at its end. The folder gets ``sweep.json`` and ``sweep.png``. Finished
    runs are not repeated.

    Args:
        config: The settings of the run.
        folder: The folder of all runs.
        ratios: Gradient ratios, separated by commas.
        force: Whether to resume runs that were made with other settings.

    Returns:
        The scores as text, one line per run.

    Raises:
        UserError: If there is no feature loss, there are no validation pairs, a ratio is not a number from 0 on, or a
            run was made with other settings.
    """
    if config.loss.kind == "control":
        raise UserError("--sweep needs a feature loss: set loss.kind, for example loss.kind=fmlc")
    if config.validation.pairs is None:
        raise UserError("--sweep needs validation.pairs=FOLDER: pairs that the network is not trained on")
    config.validation.find_pairs(config.data.blur_kind)
    wanted = _numbers(ratios)
    rows: list[dict[str, Any]] = []
    for ratio in sorted({0.0, *wanted}):
        values = config.model_dump(mode="json")
        chosen = {"kind": "control"} if ratio == 0 else {"weight": "auto", "gradient_ratio": ratio}
        values["loss"] |= chosen
        values["validation"] |= {"metrics": SCORES, "every_steps": config.loop.steps}
        run = folder / f"ratio-{ratio:g}"
        train_network(checked(TrainConfig, values), run, force=force)
        scores = last_scores(run)
        rows.append({"ratio": ratio, **{key: scores[key] for key in SCORES}})
    write_result(folder / "sweep.json", {"rows": rows})
    draw_sweep(folder / "sweep.png", rows)
    return "\n".join(f"ratio {row['ratio']:g}: " + "  ".join(f"{key} {row[key]:.4f}" for key in SCORES) for row in rows)


def _numbers(ratios: str) -> list[float]:
    try:
        found = [float(ratio) for ratio in ratios.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(ratio) and ratio >= 0 for ratio in found):
        raise UserError(f"--sweep {ratios} must be numbers from 0 on, separated by commas, such as 0.3,1,3")
    return found
