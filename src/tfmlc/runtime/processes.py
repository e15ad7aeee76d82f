"""Which one of several processes that a launcher has started this is."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Return whether this process is the only one, or the first one of those that work together."""
    return os.environ.get("RANK", "0") == "0"
