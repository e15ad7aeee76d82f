"""The mark in a restored photo or video: which model and settings restored it, and from which file.

In a photo the mark is the XMP property ``restored`` of the namespace ``urn:x-tfmlc:xmp/1.0/``. In a video it is at the
end of the comment.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.images import restored_mark
from tfmlc.io.video import is_video_name, video_mark

COMPARISON = "comparison"
FORM = re.compile(r"by ([0-9a-f]{16}) from (\d+) bytes(?: of ([0-9a-f]{16}))?")
PIECES, PIECE_BYTES = 64, 1 << 20  # of a larger file that are read to tell it from another


def fingerprint_of(*settings: object) -> str:
    """Return a fingerprint of what made a result, as 16 hexadecimal digits."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mark:
    """The mark of one photo or video.

    Attributes:
        made_by: The fingerprint of the model and its settings.
        source_bytes: The size of the file that was restored.
        content: What ``content_of`` said of it; of a blended frame also of its neighbours. Early marks have none.

    Example:
        >>> Mark.parse(str(Mark("0123456789abcdef", 10))).source_bytes
        10
    """

    made_by: str
    source_bytes: int
    content: str = ""

    def __str__(self) -> str:
        return f"by {self.made_by} from {self.source_bytes} bytes" + (f" of {self.content}" if self.content else "")

    @classmethod
    def parse(cls, text: str | None) -> Mark | None:
        """Parse a mark; None if the text is not a mark."""
        found = FORM.fullmatch(text or "")
        return None if found is None else cls(found[1], int(found[2]), found[3] or "")


def content_of(path: Path) -> str:
    """Return a hash of what a file holds, as 16 hexadecimal digits; of a large file, of pieces over its whole length.

    Raises OSError if it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= PIECES * PIECE_BYTES:
            digest = hashlib.file_digest(file, "sha256")
        else:
            for number in range(PIECES):
                file.seek(number * (size - PIECE_BYTES) // (PIECES - 1))
                digest.update(file.read(PIECE_BYTES))
    return digest.hexdigest()[:16]


def mark_of(path: Path) -> str | None:
    """Return the text of a file's mark; None if there is no file, it cannot be read or it has no mark."""
    try:
        return video_mark(path) if is_video_name(path) else restored_mark(path)
    except UserError:
        return None
