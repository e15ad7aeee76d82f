"""Mistakes a user can make: one line that says what, where and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
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
    hint = f" did you mean {nearest[0]!r}?" if nearest else ""
    return UserError(f"unknown {kind} {name!r}:{hint} (known: {', '.join(names)})")
