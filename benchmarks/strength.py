"""PSNR and LPIPS of the test pairs over the strength, measured as the program restores them.

python benchmarks/strength.py ../shared/data/pairs_test
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.io.weights import FROM_FIDELITY_TO_LOOKS
from tfmlc.metrics.periodicity import periodicity
from tfmlc.metrics.registry import score_images
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

OUTPUT = Path(__file__).parent.parent / "results" / "strength.json"
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SCORES = ["psnr", "lpips"]


def main(folder: Path) -> None:
    pairs = [read_pair(pair) for pair in find_pairs(folder)]
    rows: list[dict[str, float]] = []
    with Progress("strengths", len(STRENGTHS) * len(pairs)) as progress:
        for strength in STRENGTHS:
            deblur = Deblurrer.load("default", strength=strength).unguarded()
            found: list[dict[str, float]] = []
            for blurry, sharp in pairs:
                restored = deblur(blurry, on_unreliable=lambda _: None)
                found.append({**score_images(restored, sharp, SCORES), "periodicity": periodicity(restored)})
                progress.advance()
            means = {name: round(float(np.mean([row[name] for row in found])), 4) for name in found[0]}
            rows.append({"strength": strength, **means})
            print(rows[-1], flush=True)
    falls = {name: all(after <= before for before, after in pairwise(row[name] for row in rows)) for name in SCORES}
    content = {"ends": FROM_FIDELITY_TO_LOOKS, "images": len(pairs), "rows": rows, "falls_at_each_step": falls}
    write_result(OUTPUT, content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
