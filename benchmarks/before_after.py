"""Draw docs/before-after.jpg, the picture in the README: python benchmarks/before_after.py."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import matplotlib as mpl

REPOSITORY = Path(__file__).parent.parent

if __name__ == "__main__":
    mpl.use("agg")
    os.chdir(REPOSITORY)
    drawn = runpy.run_path("examples/plot_before_after.py")
    drawn["figure"].savefig("docs/before-after.jpg", dpi=80, pil_kwargs={"quality": 88})
