"""Former name of ``tfmlc.io.video``."""

from tfmlc.io.video import *  # noqa: F403
from tfmlc.io.video import find_videos as find_clips

__all__ = ["find_clips"]
