"""
What an adapter changes
=======================

Features of a general network say first *what* an image shows. Blur changes them much less. This example measures both
effects, trains a small adapter on blur triplets, and measures them again on images that the adapter has not seen.
"""

# %%
# The images are small crops of two sharp frames. The blur is synthetic camera motion of up to 16 px. The backbone has
# random weights, so that the example needs no download. A trained backbone is used in the same way.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from tfmlc.backbones import build_backbone
from tfmlc.data.synthesis.blur import BlurConfig, blur_levels
from tfmlc.io.images import read_rgb8
from tfmlc.losses import Adapter
from tfmlc.losses.triplet import distance, triplet_loss

LEVELS, CROP_PX = 4, 64
folder = Path.cwd() if Path("street.png").exists() else Path("examples")
photo = read_rgb8(folder / "street.png")
backbone = build_backbone("dinov2-vit-s14", weights=None, last_block=3)
blur = BlurConfig(strength_px=(16, 16), moving_patches=(0, 0))
rng = np.random.default_rng(0)


def features_of(column: int, row: int) -> torch.Tensor:
    """Features of a crop and of the same crop at every level of blur, weakest first."""
    crop = photo[row : row + CROP_PX, column : column + CROP_PX]
    blurry, sharp, _ = blur_levels(np.ascontiguousarray(crop), blur, rng, levels=LEVELS)
    images = torch.from_numpy(np.stack([sharp, *blurry])).permute(0, 3, 1, 2) / 255
    return backbone(images, block=3)


height, width = photo.shape[:2]
crops = [(x, y) for y in range(0, height - CROP_PX, 64) for x in range(0, width - CROP_PX, 64)]
features = torch.stack([features_of(*crop) for crop in crops])  # crop, level, token, number
unseen = torch.arange(len(crops)) % 4 == 0

# %%
# The adapter learns that strong blur is farther from the sharp image than weak blur, by a margin. This is the
# triplet loss.

adapter = Adapter(mode="token", width=features.shape[-1], hidden=64)
optimiser = torch.optim.Adam(adapter.parameters(), lr=1e-3)
known = features[~unseen]
for _ in range(100):
    chosen = known[torch.randint(len(known), (16,))]
    sharp, weak, strong = (adapter(chosen[:, level]) for level in (0, LEVELS // 2, LEVELS))
    loss = triplet_loss(sharp, weak, strong)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
adapter.eval()

# %%
# For every unseen crop: the distance between the sharp crop and its blurred versions. The unit is the mean distance
# between two different sharp crops. At 1, blur matters as much as content.


def relative_distances(embedded: torch.Tensor) -> torch.Tensor:
    sharp = embedded[:, 0]
    between_contents = distance(sharp, sharp.roll(1, dims=0)).mean()
    return torch.stack([distance(sharp, embedded[:, level]) for level in range(LEVELS + 1)], dim=1) / between_contents


with torch.no_grad():
    plain = relative_distances(features[unseen])
    adapted = relative_distances(torch.stack([adapter(levels) for levels in features[unseen]]))

figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for panel, values, title in zip(panels, (plain, adapted), ("frozen features", "after the adapter"), strict=True):
    panel.plot(values.T, color="tab:blue", alpha=0.25)
    panel.plot(values.mean(dim=0), color="black", linewidth=2)
    panel.axhline(1, color="tab:red", linestyle=":")
    panel.set(title=title, xlabel="level of blur", xticks=range(LEVELS + 1))
panels[0].set_ylabel("distance to the sharp crop")

# %%
# The adapter makes blur a larger part of the distance. Content still counts. On real backbones the effect is smaller,
# and it depends on how the triplets are augmented: :doc:`/results/adapters` has the measurements.
