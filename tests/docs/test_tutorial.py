"""The tutorial runs as it stands, from its own folder in a copy of the examples."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_tutorial(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    page = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page, re.DOTALL)
    steps = [code if kind == "sh" else f"python - <<'END'\n{code}END\n" for kind, code in blocks]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "tutorial.sh").write_text("".join(steps), encoding="utf-8")
    subprocess.run(["bash", "-e", "tutorial.sh"], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True)
    report = tmp_path / "runs" / "tutorial" / "report" / "report.html"
    assert "mine" in report.read_text(encoding="utf-8")
