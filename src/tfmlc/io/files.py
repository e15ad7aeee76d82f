"""Safe reading and writing: only regular files are opened, and files are written completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
import unicodedata
from collections.abc import Generator
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any, BinaryIO

import psutil

from tfmlc.errors import UserError

TEMPORARY = ".tfmlc-"  # start of the name of a temporary file; short, because names have a maximum length
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
LARGEST_PROCESS = (1 << 31) - 1
_being_written: set[str] = set()  # names of the temporary files of this process

LONGEST_NAME = 255  # bytes, on most file systems
DEVICES = {  # of Windows, whatever the suffix
    *("con", "prn", "aux", "nul", "conin$", "conout$"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"),
}


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading bytes.

    Raises UserError if the file is missing, cannot be read, or is not a regular file. A pipe would wait forever.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        kind = _kind_of_special(path)
        raise UserError(f"cannot read {path}: {kind or (error.strerror or str(error)).lower()}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"cannot read {path}: {_kind_of_special(path) or 'it is not a regular file'}")
    return os.fdopen(handle, "rb")


def real_path(path: Path) -> Path:
    """Resolve the links in a path as far as possible; a link to itself does not raise an error."""
    return Path(os.path.realpath(path))


def inside(name: str, kind: type[PurePath] = PurePath) -> str:
    """Return a relative path if it stays inside its folder and each part can be a file, else raise ValueError.

    On Windows, a drive or a root alone leaves the folder, too, and some names are devices or streams.

    >>> inside("sharp/a.png")
    'sharp/a.png'
    >>> inside("../a.png")
    Traceback (most recent call last):
    ValueError: '../a.png' is not a valid path inside a folder
    """
    path = kind(name)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    special = issubclass(kind, PureWindowsPath) and any(map(_is_special_on_windows, path.parts))
    if path.anchor or ".." in path.parts or "\0" in name or longest > LONGEST_NAME or special:
        raise ValueError(f"{name!r} is not a valid path inside a folder")
    return name


def _is_special_on_windows(part: str) -> bool:
    stem = part.partition(".")[0].rstrip().lower()
    return stem in DEVICES or part != part.rstrip(" .") or any(sign in '<>:"|?*' or sign < " " for sign in part)


def one_name(path: PurePath) -> str:
    r"""Return the same text for paths that are one file where case and the form of accents are ignored.

    >>> one_name(PurePath("Caf\u00e9.JPG")) == one_name(PurePath("cafe\u0301.jpg"))
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path.as_posix()).casefold())


def ignores_case(folder: Path) -> bool:
    """Whether the file system of a folder, which need not exist yet, takes names that differ in case for the same."""
    for place in (folder, *folder.parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if place.exists() and other.name != place.name:
            return other.exists() and other.samefile(place)
    return False


def identity(path: Path, *, fold: bool | None = None) -> Path | str:
    """Return what all names of one file have in common: links are resolved, and case is ignored where the disk does.

    Args:
        path: The file or folder, which need not exist.
        fold: Whether the file system ignores case; None looks.

    Returns:
        The same for the names of one file only. Hard links are two files.
    """
    real = real_path(path)
    return one_name(real) if (ignores_case(real) if fold is None else fold) else real


def _kind_of_special(path: Path) -> str | None:
    """Describe what a path is if it is not a regular file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    named = {
        stat.S_IFDIR: "is a directory",
        stat.S_IFIFO: "it is a pipe, not a file: write its content to a file first",
        stat.S_IFSOCK: "it is a socket, not a file",
        stat.S_IFCHR: "it is a device, not a file",
        stat.S_IFBLK: "it is a device, not a file",
    }
    return named.get(stat.S_IFMT(mode))


def read_utf8(path: Path) -> str:
    """Return the text of a file; raises UserError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (at byte {error.start}): is it the right file?") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raises UserError if it is not valid."""
    text = read_utf8(path)
    content = parse_json(text, path)
    if "\\ud" in text.lower():  # file names that are not UTF-8 are stored like that; other halves have no meaning
        try:
            json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape")
        except UnicodeEncodeError as error:
            raise UserError(f"{path} is damaged: it has half a character, {error.object[error.start]!a}") from error
    return content


def parse_json(text: str, source: object) -> Any:
    """Return the content of a JSON text; raises UserError, which names the source, if it is not valid."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{source} is not JSON: {error.msg} in line {error.lineno}") from error
    except (RecursionError, ValueError) as error:  # the latter for a number with too many digits
        raise UserError(f"{source} is not JSON: {str(error)[:200]}") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Return when the content of a file is on the disk, so that a power cut does not lose it."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file completely or not at all.

    An interruption or a full disk does not change an existing file. Its mode, owner and extended attributes are kept,
    and links are followed. A missing folder is created.

    Args:
        path: The file.
        content: Its new content.

    Raises:
        UserError: If the file cannot be written.
    """
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def check_writable(folder: Path) -> None:
    """Create a folder if needed and write a file in it for a moment; raises UserError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {folder} ({error.strerror}): choose another output") from error
    write_atomically(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)  # another process may have removed it


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; raises UserError if it cannot be written."""
    try:
        with path.open("ab") as file:
            file.write(f"{line}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; finished work is kept") from error


@contextlib.contextmanager
def replaced(path: Path, *, by_way_of: Path | None = None) -> Generator[Path]:
    """Give an empty temporary file that replaces a file at the end; after an error it is removed instead.

    This is for libraries that write to a path. ``write_atomically`` says what is kept.

    Args:
        path: The file.
        by_way_of: The folder for the temporary file, on the same disk. None takes the folder of the file.

    Yields:
        The temporary file.

    Raises:
        UserError: If the file cannot be written.
    """
    try:
        if path.is_symlink():  # to another disk, maybe
            path, by_way_of = real_path(path), None
        if (path.exists() or path.is_symlink()) and not path.is_file():
            raise UserError(f"cannot write {path}: {_kind_of_special(path) or 'it is not a regular file'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{MACHINE}"
        temporary = (by_way_of or path.parent) / name
        mode = 0o600 if path.exists() else 0o666  # the old content may be private; its mode is copied at the end
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    try:
        _being_written.add(name)
        yield temporary
        if path.exists():
            flush(temporary)  # before it replaces the old content
            _copy_standing(path, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)
        _being_written.discard(name)


@contextlib.contextmanager
def temporary_folder() -> Generator[Path]:
    """Give a private folder, which is removed at the end. Those that killed processes left are removed first."""
    remove_leftovers(Path(tempfile.gettempdir()), folders=True)
    prefix, suffix = f"{TEMPORARY}{os.getpid()}-", f"-{MACHINE}"
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, ignore_cleanup_errors=True) as folder:
        name = Path(folder).name
        _being_written.add(name)
        try:
            yield Path(folder)
        finally:
            _being_written.discard(name)


def remove_leftovers(
    folder: Path, *, below: bool = False, of_all_machines: bool = False, folders: bool = False
) -> None:
    """Remove temporary files that killed processes left in a folder; those of running processes stay.

    Args:
        folder: The folder.
        below: Whether to look into its subfolders, too.
        of_all_machines: Whether no other machine is writing in the folder, so that its files are also leftovers.
        folders: Whether to remove temporary folders, too.
    """
    for path in folder.glob(f"{'**/' if below else ''}{TEMPORARY}*-*"):
        process, *_, machine = f"{path.name.removeprefix(TEMPORARY)}-{MACHINE}".split("-")[:3]
        if not process.isdecimal() or int(process) > LARGEST_PROCESS:  # a file of the user
            continue
        if _is_dead(int(process), path.name) if machine == MACHINE else of_all_machines:
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if folders and path.is_dir() else path.unlink()


def _is_dead(process: int, name: str) -> bool:
    """Whether the process that wrote a temporary file is gone. In a container the next run has the same number."""
    return name not in _being_written if process == os.getpid() else not psutil.pid_exists(process)


def _copy_standing(old: Path, new: Path) -> None:
    """Copy the mode, the owner and the extended attributes from an old file to a new one, as far as possible."""
    was = old.stat()
    with contextlib.suppress(OSError):
        if (was.st_uid, was.st_gid) != (new.stat().st_uid, new.stat().st_gid):
            os.chown(new, was.st_uid, was.st_gid)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(old):
                os.setxattr(new, name, os.getxattr(old, name))
    with contextlib.suppress(OSError):  # on disks without modes; elsewhere the new file stays private
        new.chmod(was.st_mode & 0o777)
