"""The search for image files in folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.files import identity, real_path
from tfmlc.io.images.formats import KINDS, is_image_name, kind_of_file, kind_of_name


@dataclass
class Found:
    """The result of a search.

    Attributes:
        images: The images, each with its path relative to the folder.
        skipped: How many photos and videos cannot be read, by their kind. Hidden files and documents do not count.
        errors: Lines about folders that cannot be searched.
    """

    images: list[tuple[Path, Path]] = field(default_factory=list[tuple[Path, Path]])
    skipped: Counter[str] = field(default_factory=Counter[str])
    errors: list[str] = field(default_factory=list[str])


def skipped_line(skipped: Counter[str]) -> str:
    """Describe what was skipped in one line; empty if nothing was skipped.

    >>> skipped_line(Counter({".mp4": 1, ".heic (another reader)": 2}))
    '3 skipped: 2 .heic (another reader), 1 .mp4'
    """
    if not skipped:
        return ""
    parts = [f"{count} {what}" for what, count in sorted(skipped.items(), key=lambda item: (-item[1], item[0]))]
    return f"{skipped.total()} skipped: {', '.join(parts)}"


def search_images(
    path: Path, *, leave_out: Path | None = None, is_wanted: Callable[[Path], bool] = is_image_name
) -> Found:
    """Search a folder and its subfolders for images, in natural order (``frame9`` before ``frame10``).

    Hidden files and folders are not searched, and links to folders are not followed.

    Args:
        path: A folder; or a file, which is returned whatever its name is.
        leave_out: A folder that is not searched, unless it contains the searched one.
        is_wanted: Says by the name of a file whether it is searched for; by default images are.

    Returns:
        The images, and what was skipped.

    Raises:
        UserError: If the path does not exist.
    """
    if not os.path.lexists(path):
        raise UserError(f"there is no file or folder {path}")
    if not path.is_dir():
        return Found([(path, Path(path.name if is_wanted(path) else f"{path.name}.png"))])
    found = Found()
    inside = identity(leave_out) if leave_out is not None else None
    if inside is not None and inside in map(identity, real_path(path).parents):
        inside = None  # else links to what is beside the folder would be left out
    for file in _files(path, inside, found):
        if is_wanted(file):
            found.images.append((file, file.relative_to(path)))
        elif why := why_skipped(file):
            found.skipped[why] += 1
    found.images.sort(key=lambda pair: natural_key(pair[0]))
    return found


def find_images(path: Path, *, leave_out: Path | None = None) -> list[tuple[Path, Path]]:
    """Return the images of ``search_images``; raises UserError if there are none or a folder cannot be searched."""
    found = search_images(path, leave_out=leave_out)
    if found.errors:
        raise UserError(found.errors[0])
    if not found.images:
        raise nothing_found(path, found)
    return found.images


def nothing_found(path: Path, found: Found) -> UserError:
    """Return the error for a folder without images; it says what was skipped."""
    readable = ", ".join(name for name, kind in KINDS.items() if kind.is_read)
    there = skipped_line(found.skipped) or f"it has no file of a readable format ({readable})"
    return UserError(f"no images in {path}: {there}")


def _files(folder: Path, leave_out: Path | str | None, found: Found) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        found.errors.append(f"cannot search {error.filename}: {(error.strerror or str(error)).lower()}")

    for name, folders, files in os.walk(folder, onerror=unreadable):
        place = Path(name)
        if leave_out is not None and leave_out == identity(place):
            folders.clear()
            continue
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        found.skipped["behind a link to a folder"] += sum((place / inner).is_symlink() for inner in folders)
        for file in (place / inner for inner in files if not inner.startswith(".")):
            if leave_out is None or not file.is_symlink() or leave_out not in map(identity, real_path(file).parents):
                yield file
    found.skipped += Counter()  # removes counts of zero


def why_skipped(file: Path) -> str | None:
    """Say what a file is that is not an image by its name; None for files that nobody expects to be restored."""
    kind = kind_of_name(file)
    if kind is not None:
        suffix = file.suffix.lower()
        return (f"{suffix} ({kind.remedy})" if kind.package else suffix) if kind.visual else None
    try:
        kind = kind_of_file(file)
    except UserError:
        return None
    if kind is None or not kind.visual:
        return None
    named = f"named {file.suffix.lower()}" if file.suffix else "without a suffix"
    return f"{named} ({kind.name}{f': name it {kind.suffixes[0]}' if kind.is_read else ''})"


def natural_key(path: Path) -> list[tuple[int, int | str]]:
    """Return a sort key that puts ``frame9`` before ``frame10``.

    >>> [path.name for path in sorted([Path("a10"), Path("a9"), Path("a")], key=natural_key)]
    ['a', 'a9', 'a10']
    """
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
