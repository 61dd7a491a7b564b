"""The one exception a user is meant to read: the command line prints it as a single line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: a wrong option, a missing data set, a damaged file, a folder that cannot be written."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


def printable(text: str) -> str:
    """`text` as any terminal and any encoding can print it: escapes for control characters and for bytes of file names that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of known ones, with the nearest of them where there is one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."
    return UserError(f"unknown {kind} '{name}'. {hint}")
