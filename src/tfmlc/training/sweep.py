"""The same run at several weights of the feature loss, and what they trade: PSNR against LPIPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfmlc.config import checked
from tfmlc.data.datasets.pairs import find_pairs
from tfmlc.errors import UserError
from tfmlc.results import write_result
from tfmlc.training.state import last_scores
from tfmlc.training.train import TrainConfig, finetune

SCORES = ["psnr", "lpips"]


def sweep_ratios(config: TrainConfig, folder: Path, shares: str) -> str:
    """Train once for each share of the gradient (comma-separated) and once without the feature loss.

    Every run is validated at its end on ``validation.pairs``. Writes ``sweep.json`` and ``sweep.png`` into ``folder``;
    returns a line for each run. Runs that are finished already are not repeated.
    """
    if config.loss.kind == "origin" or config.validation.pairs is None:
        raise UserError("--sweep needs a feature loss (loss.kind) and validation.pairs=FOLDER, pairs not trained on")
    find_pairs(config.validation.pairs)
    try:
        wanted = sorted({float(share) for share in shares.split(",")})
    except ValueError as error:
        raise UserError(f"--sweep {shares}: numbers are expected, as 0.3,1,3") from error
    rows: list[dict[str, Any]] = []
    for share in (0.0, *wanted):
        values = config.model_dump(mode="json")
        chosen = {"kind": "origin"} if share == 0 else {"weight": "auto", "gradient_ratio": share}
        values["loss"] |= chosen
        values["validation"] |= {"metrics": SCORES, "every_steps": config.loop.steps}
        run = folder / f"share-{share:g}"
        finetune(checked(TrainConfig, values), run)
        scores = last_scores(run)
        rows.append({"share": share, **{key: scores[key] for key in SCORES}})
    write_result(folder / "sweep.json", {"rows": rows})
    draw(folder / "sweep.png", rows)
    return "\n".join(f"share {row['share']:g}: " + "  ".join(f"{key} {row[key]:.4f}" for key in SCORES) for row in rows)


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """Plot LPIPS over PSNR, a point for each share."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    panel = figure.subplots()
    panel.plot([row["psnr"] for row in rows], [row["lpips"] for row in rows], marker="o")
    for row in rows:
        label = "no feature loss" if row["share"] == 0 else f"{row['share']:g}"
        panel.annotate(label, (row["psnr"], row["lpips"]), textcoords="offset points", xytext=(5, 5), fontsize=8)
    panel.set(xlabel="PSNR, dB (right is better)", ylabel="LPIPS (down is better)", title="share of the gradient")
    figure.savefig(path, dpi=120)
