"""Mistakes a user can make: one line that says what, where and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LONGEST = 1200  # letters of an error
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # as torch says it, by errors of a general kind


class UserError(ValueError):
    """A mistake in what was asked for or given; its text is a single line, and the command line prints only that.

    What a file holds may be in the text: signs that steer a terminal become escapes, and what is too long is cut.
    ``option`` names the keyword argument that would allow what was refused; the command line adds its own word for it.
    """

    def __init__(self, text: str = "", *, option: str = "") -> None:
        text = printable(text)
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} ... {text[-200:]}")
        self.option = option


class OutOfRangeError(UserError):
    """Values that are not finite or far outside of the range of images."""


def printable(text: str) -> str:
    r"""A text in one line, with signs that would steer a terminal as escapes: a file's name may hold any.

    >>> print(printable("a\n\x1b[31mb.jpg"))
    a\n\x1b[31mb.jpg
    """
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


def in_one_line(error: BaseException, source: object) -> str:
    """What went wrong with a file, in one line that names it, whatever raised it.

    >>> in_one_line(ZeroDivisionError("division by zero"), "a.jpg")
    'a.jpg cannot be processed: division by zero (ZeroDivisionError)'
    >>> in_one_line(MemoryError(), "a.jpg")
    'a.jpg does not fit into memory: close other programs, or cut it into parts'
    """
    if isinstance(error, UserError):
        return printable(str(error))
    source, reason = printable(str(source)), " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in reason.lower() for words in OUT_OF_MEMORY):
        return f"{source} does not fit into memory: close other programs, or cut it into parts"
    if isinstance(error, OSError) and error.strerror:
        place = error.filename if isinstance(error.filename, str) else source
        return printable(f"{place}: {error.strerror.lower()}")
    kind = type(error).__name__
    return f"{source} cannot be processed: {f'{reason} ({kind})' if reason else kind}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is in no table, with the nearest one that is.

    >>> print(unknown_name("network", "hintet", ["hinet", "mprnet"]))
    unknown network 'hintet': did you mean 'hinet'? (known: hinet, mprnet)
    """
    names = list(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f": did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")


def different_sizes(
    first: object, first_shape: Sequence[int], second: object, second_shape: Sequence[int]
) -> UserError:
    """The error for two images that ought to be of one size, by their names and shapes ``h w ...``.

    >>> print(different_sizes("a.png", (40, 60, 3), "b.png", (30, 20, 3)))
    a.png and b.png differ in size: 60x40 and 20x30
    """
    sizes = " and ".join(f"{width}x{height}" for height, width, *_ in (first_shape, second_shape))
    return UserError(f"{first} and {second} differ in size: {sizes}")
