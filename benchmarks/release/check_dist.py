"""Installs the wheel and the sdist without the packages they need, which another environment lends, and runs both.

python benchmarks/release/check_dist.py DIST SITE_PACKAGES
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PHOTO = Path(__file__).parent.parent.parent / "examples" / "taxi.png"
CHECK = """
import sys, tfmlc
from pathlib import Path
from tfmlc.io.weights import shipped_models
from tfmlc.reproduce.estimate import _results
assert Path(tfmlc.__file__).is_relative_to(sys.prefix), tfmlc.__file__
assert shipped_models() and all(_results(name).is_file() for name in ("step_counts.json", "step.json"))
"""


def check(package: Path, lent: Path, folder: Path) -> None:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"

    def run(*command: str | Path) -> None:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    run(python, "-m", "pip", "install", "--quiet", "--no-deps", package.resolve())
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(str(lent.resolve()), encoding="utf-8")  # after the package itself
    run(python, "-c", CHECK)
    run(folder / "bin" / "tfmlc", "--help")
    photo = folder / "photo.png"
    run(python, "-c", f"from PIL import Image; Image.open({str(PHOTO)!r}).crop((0, 0, 96, 64)).save({str(photo)!r})")
    run(folder / "bin" / "tfmlc", "deblur", photo, "-o", folder / "sharp.png")
    print(f"{package.name}: installed, lists its commands, deblurs a photo", flush=True)


def main() -> None:
    dist, lent = map(Path, sys.argv[1:])
    for package in (next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))):
        with tempfile.TemporaryDirectory() as folder:
            check(package, lent, Path(folder))


if __name__ == "__main__":
    main()
