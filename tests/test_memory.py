"""The free memory is that of the machine, or what the control groups of a container leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tfmlc.deblur.tiling import largest_tile_px
from tfmlc.errors import UserError
from tfmlc.io.images import read_image
from tfmlc.runtime import memory
from tfmlc.runtime.memory import free_bytes

MIB = 1 << 20


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 100 GiB free and no groups."""
    free = psutil.virtual_memory()._replace(available=100 << 30)
    monkeypatch.setattr("tfmlc.runtime.memory.psutil.virtual_memory", lambda: free)
    monkeypatch.setattr(memory, "OF_PROCESS", tmp_path / "of_process")
    for version, found in memory.VERSIONS.items():
        monkeypatch.setitem(memory.VERSIONS, version, replace(found, root=tmp_path / f"v{version}"))
    return tmp_path


def add_group(folder: Path, version: str, most: str, used: int, cached: int) -> None:
    found = memory.VERSIONS[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / found.most).write_text(f"{most}\n")
    (folder / found.used).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{found.cached} {cached}\nslab 7\n")


def test_without_groups_the_memory_of_the_machine_is_free(groups: Path) -> None:
    assert free_bytes() == 100 << 30
    (groups / "of_process").write_text("nothing\n")
    assert free_bytes() == 100 << 30


@pytest.mark.parametrize(("version", "line"), [("", "0::/pod/own"), ("memory", "4:cpu,memory:/pod/own")])
@pytest.mark.parametrize("where", ["pod/own", "pod", ""])
def test_the_limit_of_any_group_around_the_process_counts(groups: Path, version: str, line: str, where: str) -> None:
    """In a container only the topmost folder is there, and the path can be one of the host."""
    (groups / "of_process").write_text(f"9:name=systemd:/\n{line}\n")
    root = groups / f"v{version}"
    add_group(root / where, version, str(1000 * MIB), 700 * MIB, 100 * MIB)
    assert free_bytes() == 400 * MIB
    add_group(root / where, version, "max" if not version else str((1 << 63) - 4096), 700 * MIB, 100 * MIB)
    assert free_bytes() == 100 << 30
    add_group(root / where, version, str(10 * MIB), 700 * MIB, 0)
    assert free_bytes() == 0


def test_tiles_and_the_limit_of_photos_follow_the_container(groups: Path, photo_file: Path) -> None:
    import torch

    before = largest_tile_px(1000, torch.device("cpu"))
    (groups / "of_process").write_text("0::/\n")
    add_group(groups / "v", "", str(1 * MIB), MIB // 2 - 4096, 0)
    assert largest_tile_px(1000, torch.device("cpu")) < before
    add_group(groups / "v", "", str(1 * MIB), 1 * MIB - 4096, 0)
    with pytest.raises(UserError, match=r"of memory, but 0\.0 GB are free"):
        read_image(photo_file)


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    from conftest import make_photo
    from tfmlc.io.images import Image, write_image

    path = tmp_path / "a.png"
    write_image(path, Image(make_photo(60, 80)))
    return path
