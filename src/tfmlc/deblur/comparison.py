"""The comparison of a photo, or of one frame of a video, with its result."""

from __future__ import annotations

from collections import deque
from itertools import islice
from pathlib import Path

import numpy as np

from tfmlc.deblur.marks import COMPARISON
from tfmlc.io.images import Image, to_depth
from tfmlc.io.video import Video, is_video_name, read_frames, read_properties

FRAME = 30  # of a video is shown, or the middle one of a shorter video


def side_by_side(before: Image, after: Image) -> Image:
    """Join two images of the same size side by side, with a white line between them."""
    left, right = to_depth(before.pixels, 8), to_depth(after.pixels, 8)
    line = np.full((left.shape[0], 4, left.shape[2]), 255, np.uint8)
    return Image(np.concatenate([left, line, right], axis=1), icc=before.icc, restored=COMPARISON)


def frame_to_show(path: Path) -> int:
    """Return the number of the frame of a video that is shown; 0 for a photo."""
    return min(FRAME, (read_properties(path).frames or 0) // 2) if is_video_name(path) else 0


def frame_of(video: Path, number: int) -> Image:
    """Read one frame of a video, or its last one if it has fewer; raises UserError if the video cannot be read.

    Frames that cannot be read do not count, because a restored video does not have them.
    """
    frames = (frame for frame in read_frames(Video(video, video.stem), on_bad="skip") if frame is not None)
    return Image(deque(islice(frames, number + 1), maxlen=1)[0])
