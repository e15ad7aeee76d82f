"""One word a concept: retired words do not come back."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "tfmlc"
FORMER = {"images.py", "video.py", "blur.py", "stills.py", "crops.py", "folders.py"}  # hand on former names
WORDS = {  # retired: what is said now
    "films?": "video",
    "movies?": "video",
    "pictures?": "image",
    "stills": "photos, images",
    "shaken": "blurred, synthetic",
    "peers?": "baseline",
    "deviations": "std",
    "doubts?": "warning",
    "garbage": "unreliable",
    "ShakenPhotos": "SyntheticPairs",
    "PeerLoss": "BaselineLoss",
    "GarbageWarning": "UnreliableResultWarning",
    "Steps": "Progress",
    "step_px": "size_multiple",
    "(easy|gradient|validation|adam)_share": "fraction, ratio, factor",
}
ALLOWED = {  # a crop grid has a step; former spellings of options and keys are read
    "step_px": {"data/datasets/crops.py", "training/data.py"},
    "pictures?": {"cli/synthesize.py"},
    "films?": {"data/synthesis/manifest.py", "networks/spectral_unet.py"},  # FiLM: Perez et al.
}


def test_retired_words_do_not_come_back() -> None:
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if path.name in FORMER and path.parent in (SOURCE, SOURCE / "data"):
            continue
        text = path.read_text(encoding="utf-8")
        for word, now in WORDS.items():
            if name not in ALLOWED.get(word, set()):
                found = re.search(rf"(?<![\w-]){word}(?![\w-])", text, re.IGNORECASE if word.islower() else 0)
                assert found is None, f"{name} says {found[0] if found else ''}: say {now}"
