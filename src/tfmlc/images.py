"""Former name of ``tfmlc.io.images``."""

from tfmlc.io.images import *  # noqa: F403
from tfmlc.io.images import Image as Picture
from tfmlc.io.images import find_images as find_pictures

__all__ = ["Picture", "find_pictures"]
