"""Installs what make dist built into empty environments and tries it: each Python, the newest and oldest packages.

python benchmarks/release/matrix.py DIST [--only NAME ...] [--keep]

An environment has several gigabytes; each is removed before the next one. A Python that is not there is skipped and
named. The oldest packages are those of uv's resolution lowest-direct.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
PLACES = ("3.11-oldest", "3.11-newest", "3.12-newest", "3.13-newest")
EXTRAS, TESTED_BY = "video,train,heic,jxl,raw", "pytest>=8.3,<10"
QUICK = (
    *("tests/test_paths.py", "tests/test_security.py", "tests/test_cli.py", "tests/test_config.py", "tests/golden"),
    *("tests/networks/test_catalog.py", "tests/test_weights_as_saved.py", "tests/images/test_png.py"),
    *("tests/images/test_jpeg.py", "tests/images/test_exif.py", "tests/losses/test_feature_matching.py"),
)


def run(*command: str | Path, **more: str) -> bool:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=REPOSITORY, env={**environment, **more}, check=False).returncode == 0


def find_python(version: str) -> Path | None:
    """A Python of pyenv or of the path; a shim of pyenv can stand for a version that is not there."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (*sorted(pyenv.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")):
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return Path(found)
    return None


def works(python: Path, folder: Path, *, strict: bool) -> bool:
    """Whether the installed package starts, deblurs a photo, and passes the quick tests.

    Old packages warn that still older ways of theirs end; only those of today are taken as errors (``strict``).
    """
    warnings = () if strict else ("-o", "filterwarnings=ignore")
    command = python.with_name("tfmlc")
    photo = REPOSITORY / "examples" / "taxi.png"
    return (
        run(command, "--help")
        and run(command, "deblur", photo, "-o", folder / "taxi.png")
        and (folder / "taxi.png").is_file()
        and run(python, "-c", "from tfmlc.reproduce.estimate import _results; print(_results('step_counts.json'))")
        and run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *warnings, *QUICK)
    )


def try_in(place: str, dist: Path, folder: Path) -> str:
    version, _, age = place.partition("-")
    found = find_python(version)
    if found is None:
        return f"skipped: Python {version} is not here"
    package = next(dist.glob("*.tar.gz" if age == "oldest" else "*.whl"))
    python = folder / "bin" / "python"
    resolution = "lowest-direct" if age == "oldest" else "highest"
    made = run("uv", "venv", "--quiet", "-p", found, folder) and run(
        *("uv", "pip", "install", "--quiet", "-p", python, "--resolution", resolution),
        *(f"tfmlc[{EXTRAS}] @ {package.resolve().as_uri()}", TESTED_BY),
    )
    if not made:
        return "FAILED: cannot be installed"
    return f"works, from {package.name}" if works(python, folder, strict=age == "newest") else "FAILED"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--only", nargs="*", choices=PLACES, default=PLACES)
    parser.add_argument("--keep", type=Path, help="a folder for the environments, which stay")
    options = parser.parse_args()
    said: dict[str, str] = {}
    for place in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            said[place] = try_in(place, options.dist, (options.keep or Path(temporary)) / place)
        print(f"{place}: {said[place]}", flush=True)
    print("\n".join(["", *(f"{place:<12} {what}" for place, what in said.items())]))
    return int(any(what.startswith("FAILED") for what in said.values()))


if __name__ == "__main__":
    sys.exit(main())
