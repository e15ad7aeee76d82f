"""Installs what make dist built into empty environments and tries it: each Python, the newest and oldest packages.

python benchmarks/release/matrix.py DIST [--only NAME ...] [--keep]

An environment has several gigabytes; each is removed before the next one. A Python that is not there is skipped and
named. The oldest packages are those of uv's resolution lowest-direct. Rows of an earlier run that are not tried again
stay in results/bench/matrix.json, each with the commit that it was made from.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tfmlc.results import provenance, write_result

REPOSITORY = Path(__file__).parent.parent.parent
PLACES = ("3.11-oldest", "3.11-newest", "3.12-newest", "3.13-newest")
OUTPUT = REPOSITORY / "results" / "bench" / "matrix.json"
EXTRAS, TESTED_BY = ("video", "train", "heic", "jxl", "raw"), "pytest>=8.3,<10"
PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "opencv-python-headless", "pydantic", "typer")
QUICK = (
    *("tests/test_paths.py", "tests/test_security.py", "tests/test_cli.py", "tests/test_config.py"),
    *("tests/networks/test_catalog.py", "tests/test_weights_as_saved.py", "tests/images/test_png.py"),
    *("tests/images/test_jpeg.py", "tests/images/test_exif.py", "tests/golden", "tests/losses", "tests/backbones"),
)


def run(*command: str | Path, report: Path | None = None) -> bool:
    """Run a command without PYTHONPATH, so that it finds the installed package; its output can go to a file."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with report.open("w") if report else nullcontext() as output:
        return subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=output, check=False).returncode == 0


def find_python(version: str) -> Path | None:
    """A Python of pyenv or of the path; a shim of pyenv can stand for a version that is not there."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for found in (*sorted(pyenv.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")):
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return Path(found)
    return None


def works(python: Path, folder: Path, *, strict: bool) -> str:
    """Start the installed package, deblur a photo and run the quick tests; what pytest said or what failed before.

    Old packages warn that still older ways of theirs end; only those of today are taken as errors (``strict``).
    """
    warnings = () if strict else ("-o", "filterwarnings=ignore")
    command = python.with_name("tfmlc")
    photo, made = REPOSITORY / "examples" / "taxi.png", folder / "taxi.png"
    if not run(command, "--help"):
        return "FAILED: tfmlc --help"
    if not (run(command, "deblur", photo, "-o", made) and made.is_file()):
        return "FAILED: tfmlc deblur"
    if not run(python, "-c", "from tfmlc.reproduce.estimate import _results; print(_results('step_counts.json'))"):
        return "FAILED: the measured results are not in the package"
    report = folder / "tests.txt"
    passed = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *warnings, *QUICK, report=report)
    said = report.read_text(encoding="utf-8").rstrip()
    print(said)
    return ("works: " if passed else "FAILED: ") + said.splitlines()[-1].strip("= ")


def versions(python: Path) -> dict[str, str]:
    """The versions of Python and of the main packages of an environment."""
    code = "import sys, platform; from importlib.metadata import version; "
    code += "print(platform.python_version(), *map(version, sys.argv[1:]))"
    said = subprocess.run([python, "-c", code, *PACKAGES], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(("python", *PACKAGES), said, strict=True))


def not_oldest(found: Mapping[str, str]) -> str | None:
    """The first main package that is newer than the lower end of its range in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for needed in map(Requirement, project["dependencies"]):
        lowest = next(part.version for part in needed.specifier if part.operator == ">=")
        if needed.name in found and found[needed.name] not in SpecifierSet(f"=={lowest}.*"):
            return f"{needed.name} is {found[needed.name]}, not {lowest}"
    return None


def try_in(place: str, dist: Path, folder: Path) -> dict[str, Any]:
    """Make an environment and try the package in it; what it said and the versions that it has."""
    version, _, age = place.partition("-")
    found = find_python(version)
    if found is None:
        return {"said": f"skipped: Python {version} is not here"}
    package = next(dist.glob("*.tar.gz" if age == "oldest" else "*.whl"))
    python = folder / "bin" / "python"
    resolution = "lowest-direct" if age == "oldest" else "highest"
    # pyproject.toml is named because uv takes the newest of what only the package asks for, even in lowest-direct.
    made = run("uv", "venv", "--quiet", "--allow-existing", "-p", found, folder) and run(
        *("uv", "pip", "install", "--quiet", "-p", python, "--resolution", resolution, "-r", "pyproject.toml"),
        *(f"--extra={extra}" for extra in EXTRAS),
        *(f"tfmlc @ {package.resolve().as_uri()}", TESTED_BY),
    )
    if not made:
        return {"said": "FAILED: cannot be installed"}
    said = {"package": package.name, **versions(python)}
    if age == "oldest" and (newer := not_oldest(said)):
        return {"said": f"FAILED: {newer}", **said}
    return {"said": works(python, folder, strict=age == "newest"), **said}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--only", nargs="*", choices=PLACES, default=PLACES)
    parser.add_argument("--keep", type=Path, help="a folder for the environments, which stay")
    options = parser.parse_args()
    made_from = {key: value for key, value in provenance("cpu").items() if key in {"commit", "time"}}
    rows: dict[str, dict[str, Any]] = json.loads(OUTPUT.read_text(encoding="utf-8"))["rows"] if OUTPUT.exists() else {}
    for place in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            rows[place] = try_in(place, options.dist, (options.keep or Path(temporary)) / place) | made_from
        write_result(OUTPUT, {"rows": {name: rows[name] for name in PLACES if name in rows}})
    print("\n".join(["", *(f"{place:<12} {rows[place]['said']}" for place in options.only)]))
    return int(any(rows[place]["said"].startswith("FAILED") for place in options.only))


if __name__ == "__main__":
    sys.exit(main())
