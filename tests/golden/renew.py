"""Compute golden values anew, by code that is not ours, and compare them with those here; --write replaces these.

python tests/golden/renew.py losses                        # OpenAI's code: pip install openai-clip
python tests/golden/renew.py metrics                       # scikit-image and SciPy
python tests/golden/renew.py hinet_w16 hinet_arch.py       # the network's official file
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from seeded import VALUES, read_json, seeded_images, seeded_pair8, seeded_state
from torch import Tensor, nn

NAFNET = {"width": 32, "enc_blk_nums": [1, 1, 1, 28], "middle_blk_num": 1, "dec_blk_nums": [1, 1, 1, 1]}
NETWORKS: dict[str, tuple[str, dict[str, Any], int, tuple[int, int]]] = {  # class, arguments, seed, height and width
    "hinet_w64": ("HINet", {"wf": 64, "hin_position_left": 3, "hin_position_right": 4}, 11, (64, 80)),
    "hinet_w16": ("HINet", {"wf": 16, "hin_position_left": 3, "hin_position_right": 4}, 12, (96, 64)),
    "mprnet": ("MPRNet", {}, 13, (72, 88)),
    "mprnet_lite": ("MPRNet", {"n_feat": 40, "scale_unetfeats": 20, "scale_orsnetfeats": 16}, 14, (96, 64)),
    "nafnet_w32": ("NAFNet", NAFNET, 15, (53, 78)),
}
BLOCKS = (0, 1, 3, 5, 7, 9, 11)
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def network(case: str, code: str) -> dict[str, np.ndarray]:
    """Stages of an official network in the order in which it gives them."""
    name, arguments, seed, size = NETWORKS[case]
    model = runpy.run_path(code)[name](**arguments).eval()
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    compare({"shapes": shapes}, {"shapes": read_json(f"{case}.keys.json")})
    model.load_state_dict(seeded_state(shapes, seed))
    image = np.random.default_rng([seed, 7]).random((1, 3, *size), dtype=np.float32)
    with torch.no_grad():
        stages = model(torch.from_numpy(image))
    stages = stages if isinstance(stages, list | tuple) else [stages]
    return {"seed": np.array(seed), "input": image, **{f"stage_{n}": s.numpy() for n, s in enumerate(stages)}}


def metrics() -> dict[str, Any]:
    """Scores of the seeded pair of 8-bit images; the values of the GoPro pair stay as they are."""
    from scipy.ndimage import gaussian_filter
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    earlier = read_json("metric_values.json")
    seed = earlier["seeded"]["seed"]
    restored, sharp = seeded_pair8(seed)
    plain = {"channel_axis": 2, "gaussian_weights": True, "use_sample_covariance": False, "data_range": 255}

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5, mode="nearest")  # over channels, too

    one, two = restored.astype(float), sharp.astype(float)
    mean1, mean2 = blur(one), blur(two)
    covariance, variances = blur(one * two) - mean1 * mean2, blur(one**2) + blur(two**2) - mean1**2 - mean2**2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    places = (2 * mean1 * mean2 + c1) * (2 * covariance + c2) / ((mean1**2 + mean2**2 + c1) * (variances + c2))
    found = {
        "seed": seed,
        "psnr": float(peak_signal_noise_ratio(sharp, restored)),
        "ssim_2d": float(structural_similarity(sharp, restored, sigma=1.5, **plain)),
        "ssim_3d": float(places.mean()),
    }
    return {**earlier, "seeded": found}


def losses() -> dict[str, Any]:
    """Feature losses on OpenAI's towers; those of pixels, whose code is the authors', stay as they are."""
    from clip.model import ModifiedResNet, VisionTransformer

    found = read_json("loss_values.json")
    seed = found["seed"]
    vit = VisionTransformer(224, 16, 768, 12, 12, 512).eval()
    state = seeded_state(read_json("clip_vit_b16.keys.json"), seed)
    vit.load_state_dict({name.removeprefix("visual."): value for name, value in state.items()})
    resnet = ModifiedResNet([3, 4, 6, 3], 1024, 32).eval()
    resnet.load_state_dict(seeded_state(read_json("clip_rn50.keys.json"), seed + 2))
    layers = [nn.Linear(197 * 768, 1024), nn.BatchNorm1d(1024), nn.ReLU(), nn.Linear(1024, 1024)]
    adapter = nn.Sequential(*layers, nn.BatchNorm1d(1024), nn.ReLU(), nn.Linear(1024, 1024)).eval()
    adapter.load_state_dict(seeded_state({k: v.shape for k, v in adapter.state_dict().items()}, seed + 1))
    tokens: dict[int, Tensor] = {}
    for block, layer in enumerate(vit.transformer.resblocks):
        layer.register_forward_hook(lambda *seen, block=block: tokens.update({block: seen[2].transpose(0, 1)}))

    def pairs(kind: str) -> list[Tensor]:
        small = [nn.functional.interpolate(image, size=(224, 224), mode="bicubic") for image in seeded_images(seed)]
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        return small if kind == "raw" else [(image - mean) / std for image in small]

    def distance(parts: list[Tensor]) -> float:
        return float(nn.functional.mse_loss(*parts))

    for kind in ("raw", "normalized"):
        embeddings, seen = [], []
        for image in pairs(kind):
            embeddings.append(vit(image))
            seen.append(dict(tokens))
        found |= {f"fmlc_block{block}_{kind}": distance([part[block] for part in seen]) for block in BLOCKS}
        found[f"fmlc_final_vitb16_{kind}"] = distance(embeddings)
        adapted = [adapter(part[3].flatten(1)) for part in seen]
        found[f"tfmlc_block3_{kind}"] = distance(adapted)
        found[f"tokens_block3_{kind}_first"] = seen[0][3][0, :3, :6].tolist()
        found[f"vitb16_embedding_{kind}_first"] = embeddings[0][0, :8].tolist()
        found[f"adapter_{kind}_first"] = adapted[0][0, :8].tolist()
    embeddings = [resnet(image) for image in pairs("normalized")]
    found["rn50_embedding_normalized_first"] = embeddings[0][0, :8].tolist()
    found["fmlc_final_rn50_normalized"] = distance(embeddings)
    parts = [np.random.default_rng([seed + 4, i]).standard_normal((8, 16), dtype=np.float32) for i in range(3)]
    found["triplet_margin1"] = float(nn.TripletMarginLoss(margin=1)(*map(torch.from_numpy, parts)))
    return found


def compare(found: dict[str, Any], earlier: dict[str, Any]) -> None:
    assert found.keys() == earlier.keys(), found.keys() ^ earlier.keys()
    for name, value in found.items():
        if isinstance(value, dict | str):
            print(f"{name}: {'the same' if value == earlier[name] else 'differs'}")
            continue
        before = np.asarray(earlier[name], float)
        scale = before.std() if before.ndim else abs(float(before))
        print(f"{name}: {np.abs(np.asarray(value, float) - before).max() / scale:.1e}")


def main(what: str, code: str = "", *, write: bool) -> None:
    made: dict[str, Callable[[], dict[str, Any]]] = {"losses": losses, "metrics": metrics}
    if what in made:
        with torch.no_grad():
            found = made[what]()
        path = VALUES / {"losses": "loss_values.json", "metrics": "metric_values.json"}[what]
        compare(found, read_json(path.name))
        if write:
            path.write_text(json.dumps(found, indent=1) + "\n")
        return
    found = network(what, code)
    with np.load(VALUES / f"{what}.npz") as earlier:
        compare(found, dict(earlier))
    if write:
        np.savez_compressed(VALUES / f"{what}.npz", **found)


if __name__ == "__main__":
    main(*(word for word in sys.argv[1:] if word != "--write"), write="--write" in sys.argv)
