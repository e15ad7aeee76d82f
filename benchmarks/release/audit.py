"""Asks PyPI's database about known faults of the installed packages: audit.py PYTHON [NAME ...]; 1 if there are any."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SILENT = "audit: PyPI's database of known faults does not answer: run make audit where there is a network"


def main() -> str | int:
    python, *names = sys.argv[1:]
    listed = subprocess.run(
        [python, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = [line for line in listed if "==" in line and (not names or line.split("==")[0] in names)]
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder, "packages.txt")
        packages.write_text("\n".join(wanted), encoding="utf-8")
        options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        asked = subprocess.run(
            [sys.executable, "-m", "pip_audit", "-r", packages, *options], capture_output=True, text=True, check=False
        )
    try:
        answers = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        return SILENT
    known = [row for row in answers if "vulns" in row]  # pip-audit calls it a success if it can ask about none
    if not known:
        return SILENT
    for row in answers:
        if "skip_reason" in row:
            print(f"{row['name']}: not in the database")
        for fault in row.get("vulns", []):
            print(f"{row['name']} {row['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or '-'}")
    faulty = sum(bool(row["vulns"]) for row in known)
    print(f"audit: {len(known)} of {len(wanted)} packages are in the database, {faulty} with known faults")
    return int(faulty > 0)


if __name__ == "__main__":
    sys.exit(main())
