"""Mistakes a user can make: one line that says what, where and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in what was asked for or given; its text is a single line, and the command line prints only that."""


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
    """The error for two pictures that ought to be of one size, by their names and shapes ``h w ...``.

    >>> print(different_sizes("a.png", (40, 60, 3), "b.png", (30, 20, 3)))
    a.png and b.png differ in size: 60x40 and 20x30
    """
    sizes = " and ".join(f"{width}x{height}" for height, width, *_ in (first_shape, second_shape))
    return UserError(f"{first} and {second} differ in size: {sizes}")
