"""
Where the default model works, and where it does not
====================================================

The model that ships is small. It removes a short, straight motion well, and long motion only in part. This
example blurs one photo in both ways, restores it, and compares the results with the sharp photo.
"""

# %%
# A :class:`~tfmlc.deblur.Deblurrer` takes an array, a tensor or a PIL image and returns the same type. The blur is
# simulated camera shake: 9 px in a straight line, and 36 px along a curve.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tfmlc import Deblurrer, score
from tfmlc.data.synthesis.blur import BlurConfig, blur_image
from tfmlc.io.images import read_rgb8

folder = Path.cwd() if Path("street.png").exists() else Path("examples")
photo = read_rgb8(folder / "street.png")
deblur = Deblurrer.load("default")
short = BlurConfig(strength_px=(9, 9), exposure=(0.1, 0.1), direction_deg=(10, 10), moving_patches=(0, 0))
long = BlurConfig(strength_px=(36, 36), exposure=(1.2, 1.2), moving_patches=(0, 0))

# %%
# PSNR measures how close an image is to the sharp one, in dB. Higher is better.

figure, rows = plt.subplots(2, 3, figsize=(12, 4), layout="constrained")
for row, blur in zip(rows, (short, long), strict=True):
    blurry, sharp, _ = blur_image(photo, blur, np.random.default_rng(1), margin_px=40)
    restored = deblur(blurry)
    for panel, image, title in zip(row, (blurry, restored, sharp), ("blurry", "restored", "sharp"), strict=True):
        psnr = "" if image is sharp else f", {score(image, sharp, metrics=('psnr',))['psnr']:.1f} dB"
        panel.imshow(image)
        panel.set_title(title + psnr)
        panel.axis("off")

# %%
# In the first row the restored image is much closer to the sharp one. In the second row the motion is longer than
# the model can handle: the result is closer, but still blurred.
# ``tfmlc evaluate`` measures this on your own pairs.
