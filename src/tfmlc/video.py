"""Former name of ``tfmlc.io.video``."""

from tfmlc.io.video import *  # noqa: F403
