"""Periodicity and fidelity of blends of two models on training images: how much of the second one can be had.

python benchmarks/default_model.py PAIRS OUTPUT.json [ONE] [OTHER], with PAIRS a folder of blur/ and sharp/ that no
score is taken on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.deblur import Deblurrer
from tfmlc.evaluation import score
from tfmlc.io.weights import find_model
from tfmlc.networks import blend_networks, load_network
from tfmlc.results import write_result
from tfmlc.runtime.progress import Progress

BLENDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
EVERY = 10
ALLOWED, LEAST = 3.0, 3.0  # times the input's periodicity, which counts as no less than this


def main(pairs: Path, output: Path, one: str = "default-psnr", other: str = "default-perceptual") -> None:
    networks = [load_network(find_model(name)) for name in (one, other)]
    images = [read_pair(pair) for pair in find_pairs(pairs)[::EVERY]]
    rows: list[dict[str, Any]] = []
    with Progress("blends", len(BLENDS)) as progress:
        for blend in BLENDS:
            deblur = Deblurrer(blend_networks(*networks, blend)).unguarded()
            found = [(blurry, deblur(blurry, on_unreliable=print), sharp) for blurry, sharp in images]
            before = [periodicity(blurry) for blurry, _, _ in found]
            after = [periodicity(restored) for _, restored, _ in found]
            ratios = [later / max(earlier, LEAST) for earlier, later in zip(before, after, strict=True)]
            gains = [psnr(restored, sharp) - psnr(blurry, sharp) for blurry, restored, sharp in found]
            rows.append(
                {
                    "blend": blend,
                    "gain_db": round(float(np.mean(gains)), 3),
                    "periodicity_blurry": round(float(np.mean(before)), 1),
                    "periodicity": round(float(np.mean(after)), 1),
                    "largest_ratio": round(max(ratios), 2),
                    "within": sum(ratio <= ALLOWED for ratio in ratios),
                    "images": len(ratios),
                }
            )
            progress.advance()
    write_result(output, {"one": one, "other": other, "allowed": ALLOWED, "rows": rows})


def periodicity(image: Any) -> float:
    return score(image, image, protocol="gopro-hinet", metrics=("periodicity",))["periodicity"]


def psnr(restored: Any, sharp: Any) -> float:
    return score(restored, sharp, protocol="gopro-hinet", metrics=("psnr",))["psnr"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
