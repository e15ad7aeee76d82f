"""The mark on a restored photo: by which model and settings it was made, and of what source.

It is the XMP property ``restored`` of the namespace ``urn:x-tfmlc:xmp/1.0/``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tfmlc.errors import UserError
from tfmlc.io.images import restored_mark

COMPARISON = "comparison"
FORM = re.compile(r"by ([0-9a-f]{16}) from (\d+) bytes")


@dataclass(frozen=True)
class Mark:
    """``made_by``: fingerprint of the model and its settings; ``source_bytes``: size of the file it was made of.

    >>> Mark.parse(str(Mark("0123456789abcdef", 10))).source_bytes
    10
    """

    made_by: str
    source_bytes: int

    def __str__(self) -> str:
        return f"by {self.made_by} from {self.source_bytes} bytes"

    @classmethod
    def parse(cls, text: str | None) -> Mark | None:
        """The mark that a text is; None where it is another."""
        found = FORM.fullmatch(text or "")
        return None if found is None else cls(found[1], int(found[2]))


def mark_of(path: Path) -> str | None:
    """The text of a file's mark; None where there is no file, no image or no mark."""
    try:
        return restored_mark(path)
    except UserError:
        return None
