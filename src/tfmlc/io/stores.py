"""Files in object stores, such as S3 and Google Cloud Storage; they are read and written by copies on the disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tfmlc.errors import UserError
from tfmlc.io.files import inside
from tfmlc.io.images.formats import is_image_name
from tfmlc.io.images.search import Found, natural_key, why_skipped

PACKAGES = {"s3:": "s3fs", "gs:": "gcsfs"}  # whose writing of an object is complete or does not happen


class StoredPath(type(Path())):
    """The path of an object, such as ``s3://bucket/photos/a.jpg``.

    Example:
        >>> path = StoredPath("s3://bucket/photos/a.jpg")
        >>> str(path), path.suffix, str(path.parent / "b.jpg")
        ('s3://bucket/photos/a.jpg', '.jpg', 's3://bucket/photos/b.jpg')
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)

    @property
    def store(self) -> Any:
        """The store of the object, as fsspec sees it."""
        scheme = self.parts[0]
        try:  # a listing in memory would hide what other machines write
            return import_module("fsspec").filesystem(scheme.removesuffix(":"), use_listings_cache=False)
        except ImportError as error:
            raise UserError(f"{self} needs the package {PACKAGES[scheme]}: pip install {PACKAGES[scheme]}") from error

    def is_file(self) -> bool:
        """Whether there is an object of this name."""
        with _told(f"cannot look for {self}"):
            return self.store.isfile(str(self))

    def is_dir(self) -> bool:
        """Whether there are objects whose names start with this one and a slash."""
        with _told(f"cannot look for {self}"):
            return self.store.isdir(str(self))

    def exists(self) -> bool:
        """Whether there is an object of this name, or below it."""
        with _told(f"cannot look for {self}"):
            return self.store.exists(str(self))

    def fetch(self, to: Path) -> None:
        """Copy the object, with the time of its last change, to the disk."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with _told(f"cannot read {self}"):
            self.store.get_file(str(self), str(to))
            changed = self.store.modified(str(self)).timestamp()
        os.utime(to, (changed, changed))

    def send(self, file: Path) -> None:
        """Make the object a copy of a file on the disk."""
        with _told(f"cannot write {self}"):
            self.store.put_file(str(file), str(self))


def located(path: Path) -> Path:
    """Return a path as a StoredPath if it starts with the name of an object store and a bucket.

    >>> [type(located(Path(name))).__name__ for name in ("s3://bucket/a.jpg", "s3.jpg")]
    ['StoredPath', 'PosixPath']
    """
    return StoredPath(*path.parts) if len(path.parts) > 1 and path.parts[0] in PACKAGES else path


def check_bucket(path: StoredPath) -> None:
    """Raise UserError if the bucket of a path does not exist or cannot be reached."""
    bucket = StoredPath(*path.parts[:2])
    if not bucket.exists():
        raise UserError(f"there is no bucket {bucket}: create it first, or mend its name")


def search_store(
    path: StoredPath, *, leave_out: Path | None = None, is_wanted: Callable[[Path], bool] = is_image_name
) -> Found:
    """Search a folder of a store for images; as ``search_images`` does on the disk.

    Raises UserError if the folder does not exist or the store does not answer.
    """
    check_bucket(path)
    if path.is_file():
        return Found([(path, Path(path.name if is_wanted(path) else f"{path.name}.png"))])
    with _told(f"cannot search {path}"):
        names: list[str] = path.store.find(str(path))
    if not names:
        raise UserError(f"there is no file or folder {path}")
    found = Found(skipped=Counter())
    leave_out = None if leave_out in path.parents else leave_out
    for name in names:
        file = StoredPath(path.parts[0], name)
        within = file.relative_to(path)
        if not _is_file_name(within):
            found.skipped["with a name that no file can have here"] += 1
            continue
        if any(part.startswith(".") for part in within.parts) or (leave_out is not None and leave_out in file.parents):
            continue
        if str(file).partition("://")[2] != name:
            if not name.endswith("/"):  # else it marks a folder
                found.skipped["with a name that is no path, such as a//b"] += 1
        elif is_wanted(file):
            found.images.append((file, Path(within)))
        elif why := why_skipped(file):
            found.skipped[why] += 1
    found.images.sort(key=lambda pair: natural_key(pair[0]))
    return found


def _is_file_name(path: Path) -> bool:
    try:
        return bool(inside(path.as_posix()))
    except ValueError:
        return False


@contextmanager
def _told(what: str) -> Generator[None]:
    """Turn an error of any type into a UserError; clients of stores raise their own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kind, reason = type(error).__name__, " ".join(str(error).split())
        if "credentials" in f"{kind} {reason}".lower():
            reason += ": name a profile (AWS_PROFILE), or set the variables of the store's keys"
        elif isinstance(error, FileNotFoundError):
            reason = "there is no such object or bucket"
        raise UserError(f"{what}: {reason or kind}") from error
