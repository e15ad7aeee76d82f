"""The same run at several weights of the feature loss, and what they trade: PSNR against LPIPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfmlc.config import checked
from tfmlc.data.datasets.pairs import find_pairs
from tfmlc.errors import UserError
from tfmlc.evaluation.plots import draw_sweep
from tfmlc.results import write_result
from tfmlc.training.state import last_scores
from tfmlc.training.train import TrainConfig, train_network

SCORES = ["psnr", "lpips"]


def sweep_ratios(config: TrainConfig, folder: Path, ratios: str) -> str:
    """Train once for each ratio of the gradient (comma-separated) and once without the feature loss.

    Every run is validated at its end on ``validation.pairs``. Writes ``sweep.json`` and ``sweep.png`` into ``folder``;
    returns a line for each run. Runs that are finished already are not repeated.
    """
    if config.loss.kind == "control" or config.validation.pairs is None:
        raise UserError("--sweep needs a feature loss (loss.kind) and validation.pairs=FOLDER, pairs not trained on")
    find_pairs(config.validation.pairs)
    try:
        wanted = sorted({float(ratio) for ratio in ratios.split(",")})
    except ValueError as error:
        raise UserError(f"--sweep {ratios}: numbers are expected, as 0.3,1,3") from error
    rows: list[dict[str, Any]] = []
    for ratio in (0.0, *wanted):
        values = config.model_dump(mode="json")
        chosen = {"kind": "control"} if ratio == 0 else {"weight": "auto", "gradient_ratio": ratio}
        values["loss"] |= chosen
        values["validation"] |= {"metrics": SCORES, "every_steps": config.loop.steps}
        run = folder / f"ratio-{ratio:g}"
        train_network(checked(TrainConfig, values), run)
        scores = last_scores(run)
        rows.append({"ratio": ratio, **{key: scores[key] for key in SCORES}})
    write_result(folder / "sweep.json", {"rows": rows})
    draw_sweep(folder / "sweep.png", rows)
    return "\n".join(f"ratio {row['ratio']:g}: " + "  ".join(f"{key} {row[key]:.4f}" for key in SCORES) for row in rows)
