"""Former name of ``tfmlc.io.images``."""

from tfmlc.io.images import *  # noqa: F403
