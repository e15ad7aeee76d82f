"""Make six short videos of a moving camera, for the tutorial: python examples/make_videos.py FOLDER."""

import sys
from pathlib import Path

import numpy as np

from tfmlc.io.images import Image, read_rgb8, write_image

EXAMPLES = Path(__file__).parent

street = read_rgb8(EXAMPLES / "street.png")
for name, photo in (("left", street[:, :400]), ("right", street[:, 240:])):
    for number, view in enumerate((photo, photo[:, ::-1], photo[::-1])):
        positions_px = np.cumsum(2 + np.sin(np.arange(70) / 6 + number)).astype(int)
        for frame, left in enumerate(positions_px):
            image = np.ascontiguousarray(view[64:, left : left + 200])
            write_image(Path(sys.argv[1]) / f"{name}-{number}" / f"{frame:03}.png", Image(image))
