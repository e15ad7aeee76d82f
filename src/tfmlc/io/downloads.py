"""Downloads: complete, checked and atomic; one that was cut off continues."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tfmlc.errors import UserError
from tfmlc.io.files import file_sha256
from tfmlc.io.locks import file_lock
from tfmlc.runtime.progress import Progress

PART = ".part"  # end of the name of a file whose download has not finished
CHUNK_BYTES, MEGABYTE, TIMEOUT_S = 2**18, 1e6, 30.0
SCHEMES = ("https", "http")
NOT_FOUND, PARTIAL, PAST_THE_END = 404, 206, 416


def download(url: str, path: Path, sha256: str = "") -> str:
    """Download a file, and check it before it gets its name.

    What an interrupted download has received is kept in ``PATH.part``, and the next call continues there if the server
    can.

    Args:
        url: The address.
        path: Where to store the file. A missing folder is created. A file that exists is left as it is.
        sha256: The checksum or the start of it. If it is empty, only the length is checked.

    Returns:
        The sha256 of the file.

    Raises:
        UserError: If the address is not one of the web, cannot be reached or has no such file, the connection ends too
            early or is redirected to one without encryption, the checksum is another, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     download("http://localhost:9/weights.pt", Path(folder) / "weights.pt")
        Traceback (most recent call last):
        tfmlc.errors.UserError: cannot download http://localhost:9/weights.pt: connection refused
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise UserError(f"cannot download {url}: give an address that starts with https://")
    with file_lock(path, wait=True):
        if path.exists():  # another process has fetched it in the meantime
            return file_sha256(path)
        part = path.with_name(path.name + PART)
        try:
            _receive(url, part)
            received = file_sha256(part)
        except HTTPError as error:
            reason = "the server has no such file" if error.code == NOT_FOUND else f"the server answers {error.reason}"
            raise UserError(f"cannot download {url}: {reason} (status {error.code})") from error
        except (OSError, http.client.HTTPException) as error:  # no network, a cut connection, or a full disk
            raise UserError(f"cannot download {url}: {_reason(error)}") from error
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
        if not received.startswith(sha256):
            part.unlink()
            raise UserError(
                f"cannot download {url}: the file that arrived has the sha256 {received}, not {sha256}, and was removed"
            )
        part.replace(path)
    return received


class _StaysEncrypted(HTTPRedirectHandler):
    """Follows redirects, but not from an encrypted connection to another kind."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise OSError(f"the server redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(url: str, part: Path) -> None:
    """Fetch the rest of a file to the end of its part."""
    with part.open("ab") as file:
        request = Request(url, headers={"User-Agent": "tfmlc"})  # noqa: S310 (download has checked the scheme)
        if start := file.tell():
            request.add_header("Range", f"bytes={start}-")
        try:
            answer: http.client.HTTPResponse = build_opener(_StaysEncrypted).open(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            error.close()
            if start and error.code == PAST_THE_END:  # all of it is there, or it is the part of another file
                return
            raise
        with answer:
            if answer.status != PARTIAL:  # the server sends all of it again
                start = 0
                file.truncate(0)
            _copy(answer, file, start)


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, start: int) -> None:
    """Append what the server sends; raises OSError if it is less than the server announced."""
    done, length = start, answer.length
    total = None if length is None else start + length
    shown = None if total is None else round(total / MEGABYTE)
    with Progress("MB", shown) as progress:
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            progress.update(round(done / MEGABYTE))
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes; the same command continues there")


def _reason(error: BaseException) -> str:
    """Return the system's words for an error, which urllib wraps in another."""
    inner = getattr(error, "reason", error)
    text = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return (text or type(inner).__name__).lower()


__all__ = ["download"]
