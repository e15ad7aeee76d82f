"""Measure the ONNX variants of a model on crops of genuine pairs: file size, dB and time.

python benchmarks/onnx_variants.py pairs_test pairs_train/gopro/blur      all variants of default
The first pairs only measure; the blurry images of the second folder set the ranges of a variant.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import onnxruntime
import torch

from tfmlc.data.datasets.pairs import find_pairs, read_pair
from tfmlc.io.weights import BEST, find_model
from tfmlc.metrics.fidelity import psnr
from tfmlc.networks import load_network
from tfmlc.networks.onnx import Precision, export_onnx
from tfmlc.results import write_result

OUTPUT = Path(__file__).parent.parent / "results" / "onnx.json"
HEIGHT, WIDTH, THREADS, REPEATS = 361, 481, 1, 3  # odd sides


def main(folder: Path, photos: Path) -> None:
    torch.set_num_threads(THREADS)
    network = load_network(find_model(BEST))
    pairs = [tuple(middle(image) for image in read_pair(pair)) for pair in find_pairs(folder)]
    wanted, seconds = run(lambda x: network(torch.from_numpy(x))[-1].numpy(), [blurry for blurry, _ in pairs])
    rows: list[dict[str, object]] = [
        {
            "variant": "PyTorch fp32",
            "megabytes": megabytes(find_model(BEST)),
            **score(wanted, pairs),
            "seconds": seconds,
        }
    ]
    print(rows[-1], flush=True)
    variants: list[tuple[str, Precision, Path | None]] = [(name, name, None) for name in get_args(Precision)]
    for title, precision, ranges in (*variants, ("int8, ranges of photos", "int8", photos)):
        with TemporaryDirectory() as place:
            path = Path(place, "model.onnx")
            export_onnx(path, network, precision=precision, photos=ranges)
            session = session_of(path)
            size = megabytes(path)
        found, seconds = run(lambda x, s=session: s.run(None, {"blurry": x})[0], [blurry for blurry, _ in pairs])
        against = float(np.mean([psnr_of(one, other) for one, other in zip(found, wanted, strict=True)]))
        scores = {"of_torch_db": round(against, 3), **score(found, pairs)}
        rows.append({"variant": f"ONNX {title}", "megabytes": size, **scores, "seconds": seconds})
        print(rows[-1], flush=True)
    blurry_psnr = float(np.mean([psnr(blurry, sharp) for blurry, sharp in pairs]))
    content = {"model": BEST, "images": len(pairs), "size": f"{WIDTH}x{HEIGHT}", "threads": THREADS, "rows": rows}
    write_result(OUTPUT, {**content, "blurry_psnr": blurry_psnr, "onnxruntime": onnxruntime.__version__})


def middle(image: np.ndarray) -> np.ndarray:
    top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])


def session_of(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def run(restore: Any, images: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Restore all images; the processor's time for one is the least of some runs, as other programs may run too."""
    inputs = [image.astype(np.float32).transpose(2, 0, 1)[None] / 255 for image in images]
    found = [restore(blurry)[0].transpose(1, 2, 0) for blurry in inputs]
    times: list[float] = []
    for _ in range(REPEATS):
        begin = time.process_time()
        restore(inputs[0])
        times.append(time.process_time() - begin)
    return found, round(min(times), 3)


def score(found: list[np.ndarray], pairs: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
    eight = [np.rint(image.clip(0, 1) * 255).astype(np.uint8) for image in found]
    return {"psnr": round(float(np.mean([psnr(one, sharp) for one, (_, sharp) in zip(eight, pairs, strict=True)])), 3)}


def psnr_of(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(np.float64) - other) ** 2) + 1e-20))


def megabytes(path: Path) -> float:
    return round(path.stat().st_size / 1e6, 2)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
