"""
From video frames to a blur triplet
===================================

An adapter learns from triplets: one sharp image, the same image with weak blur, and the same image with strong blur.
This example makes one triplet from a short video and shows each step.
"""

# %%
# The video is generated. A camera moves over a photo at a speed that changes, and takes 40 frames.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tfmlc.data import blur_windows
from tfmlc.io.images import read_rgb8

folder = Path.cwd() if Path("street.png").exists() else Path("examples")
photo = read_rgb8(folder / "street.png")
shifts_px = np.cumsum(1.5 + np.sin(np.arange(40) / 6)).round().astype(int)
frames = [photo[:, shift : shift + 240] for shift in shifts_px]

# %%
# A *window* grows frame by frame until it holds at least 15 frames and 25 px of motion. Then the next window starts.

windows = list(blur_windows(frames, min_frames=15, min_displacement_px=25.0))
for window in windows:
    print(f"frames {window.start} to {window.stop - 1}: {window.displacement_px:.1f} px of motion")

# %%
# The middle frame of a window is the sharp image. The mean of the middle half is the weak blur. The mean of all frames
# is the strong blur. All three show the same moment.

window = windows[0]
sharp = frames[window.sharp]
weak = np.mean(frames[slice(*window.weak)], axis=0).round().astype(np.uint8)
strong = np.mean(frames[window.start : window.stop], axis=0).round().astype(np.uint8)

figure, panels = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
images = {"sharp (anchor)": sharp, "weak blur (positive)": weak, "strong blur (negative)": strong}
for panel, (title, image) in zip(panels, images.items(), strict=True):
    panel.imshow(image)
    panel.set_title(title)
    panel.axis("off")

# %%
# ``tfmlc synthesize triplets`` does the same for whole videos, writes the images and a manifest, and starts a new
# window at every scene cut. See :doc:`/howto/videos`.
