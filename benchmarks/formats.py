"""What becomes of every kind of image and of metadata in every format that is written: results/formats.json.

python benchmarks/formats.py
"""

from __future__ import annotations

from pathlib import Path

from round_trip.matrix import rows
from tfmlc.results import write_result

OUTPUT = Path(__file__).parent.parent / "results" / "formats.json"

if __name__ == "__main__":
    write_result(OUTPUT, {"rows": rows()})
