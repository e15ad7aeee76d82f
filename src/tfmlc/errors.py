"""Errors that a user can cause: one line that says what is wrong, where, and how to fix it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LONGEST = 1200  # characters of an error
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
INTERRUPTED = "tfmlc: interrupted; finished work is kept, run the same command to continue"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch's words, in errors of general types


class UserError(ValueError):
    """An error that the user can fix. The command line prints its text without a traceback.

    The text is one line. It can quote a file, so control characters are escaped and a long text is cut.

    Args:
        text: What is wrong, where, and how to fix it.
        option: The keyword argument that would allow what was refused. The command line adds its own option's name.

    Example:
        >>> raise UserError("a.jpg is empty: download it again")
        Traceback (most recent call last):
        tfmlc.errors.UserError: a.jpg is empty: download it again
    """

    def __init__(self, text: str = "", *, option: str = "") -> None:
        text = printable(text)
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} ... {text[-200:]}")
        self.option = option


class OutOfRangeError(UserError):
    """Values that are not finite or far outside of the range of images."""


def printable(text: str) -> str:
    r"""Return a text in one line with its control characters escaped; file names can contain them.

    >>> print(printable("a\n\x1b[31mb.jpg"))
    a\n\x1b[31mb.jpg
    """
    return CONTROL.sub(lambda sign: sign[0].encode("unicode_escape").decode(), text)


def in_one_line(error: BaseException, source: object) -> str:
    """Describe any error with a file in one line that names the file.

    >>> in_one_line(ZeroDivisionError("division by zero"), "a.jpg")
    'a.jpg cannot be processed: division by zero (ZeroDivisionError)'
    >>> in_one_line(MemoryError(), "a.jpg")
    'a.jpg does not fit into memory: close other programs or split the file'
    """
    if isinstance(error, UserError):
        return printable(str(error))
    source, reason = printable(str(source)), " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in reason.lower() for words in OUT_OF_MEMORY):
        return f"{source} does not fit into memory: close other programs or split the file"
    if isinstance(error, OSError) and error.strerror:
        place = error.filename if isinstance(error.filename, str) else source
        return printable(f"{place}: {error.strerror.lower()}")
    kind = type(error).__name__
    return f"{source} cannot be processed: {f'{reason} ({kind})' if reason else kind}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name, with the most similar known name.

    >>> print(unknown_name("network", "hintet", ["hinet", "mprnet"]))
    unknown network 'hintet': did you mean 'hinet'? (known: hinet, mprnet)
    """
    names = list(known)
    nearest = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f": did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")


def loss_in_place(path: object, losses: Iterable[str]) -> UserError:
    """Return the error for a file that cannot be replaced without the loss of a part of it.

    >>> print(loss_in_place("a.avif", ["the gain map is left out"]))
    a.avif was not changed, because in place a part would be lost (the gain map is left out): choose another output
    """
    return UserError(
        f"{path} was not changed, because in place a part would be lost ({'; '.join(losses)}): choose another output",
        option="output",
    )


def different_sizes(
    first: object, first_shape: Sequence[int], second: object, second_shape: Sequence[int]
) -> UserError:
    """Return the error for two images that must have the same size, from their names and shapes ``h w ...``.

    >>> print(different_sizes("a.png", (40, 60, 3), "b.png", (30, 20, 3)))
    a.png and b.png differ in size: 60x40 and 20x30
    """
    sizes = " and ".join(f"{width}x{height}" for height, width, *_ in (first_shape, second_shape))
    return UserError(f"{first} and {second} differ in size: {sizes}")
