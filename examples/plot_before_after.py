"""
Where the default model works, and where it does not
====================================================

The model that ships is small. It removes a short, straight motion well. It fails on long motion. This example restores
one photo of each kind and compares both with the sharp frame that the camera took at the same time.
"""

# %%
# A :class:`~tfmlc.deblur.Deblurrer` takes an array, a tensor or a PIL image and returns the same type. The two
# photos are crops of genuine GoPro frames (Nah et al., CVPR 2017, CC BY 4.0).

from pathlib import Path

import matplotlib.pyplot as plt

from tfmlc import Deblurrer, score
from tfmlc.io.images import read_rgb8

folder = Path.cwd() if Path("short-motion-sharp.webp").exists() else Path("examples")
deblur = Deblurrer.load("default")

# %%
# PSNR measures how close an image is to the sharp one, in dB. Higher is better.

figure, rows = plt.subplots(2, 3, figsize=(12, 5.6), layout="constrained")
for row, name in zip(rows, ("short-motion", "long-motion"), strict=True):
    blurry, sharp = (read_rgb8(folder / f"{name}-{side}.webp") for side in ("blurry", "sharp"))
    restored = deblur(blurry)
    for panel, image, title in zip(row, (blurry, restored, sharp), ("blurry", "restored", "sharp"), strict=True):
        psnr = "" if image is sharp else f", {score(image, sharp, metrics=('psnr',))['psnr']:.1f} dB"
        panel.imshow(image)
        panel.set_title(title + psnr)
        panel.axis("off")

# %%
# In the first row the restored image is much closer to the sharp one. In the second row the motion is longer than
# what the model was trained on. The result is *farther* from the sharp image than the input: the model
# adds false edges.
# ``tfmlc evaluate`` measures this on your own pairs.
