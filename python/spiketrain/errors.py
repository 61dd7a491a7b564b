"""The one exception a user is meant to read: the command line prints it as a single line and exits with status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_LINE = 300  # characters of an error about a configuration
LONGEST_VALUE = 60  # characters of a wrong value that an error shows


class UserError(Exception):
    """Something the user can mend: a wrong option, a missing data set, a damaged file, a folder that cannot be written."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))


def printable(text: str) -> str:
    """`text` as any terminal and any encoding can print it: escapes for control characters and for bytes of file names that are no text."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message_of(error: BaseException) -> str:
    """What an exception says, nothing where it cannot: those of foreign code may fail at that, too."""
    try:
        return str(error)
    except Exception:
        return ""


def shortened(text: object, limit: int = LONGEST_LINE) -> str:
    """The text with its middle left out where it is longer than `limit` characters."""
    text = str(text)
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 5]} ... {text[len(text) - end :]}"


def shown(value: object) -> str:
    """A wrong value as an error shows it: short, however large, deep or strange the value is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        # Digits of a huge number are many, and Python refuses to write them all.
        return str(value) if abs(value) < 10**LONGEST_VALUE else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return shortened(value, LONGEST_VALUE) if value.strip() else f"'{value[:LONGEST_VALUE]}'"
    if isinstance(value, (list, tuple)):
        parts = [shown(part) if isinstance(part, (str, bool, int, float)) else f"a {type(part).__name__}" for part in value[:10]]
        return shortened(f"[{', '.join(parts)}{', ...' if len(value) > 10 else ''}]", LONGEST_VALUE)
    if isinstance(value, dict):
        return "a section of fields"
    return f"a {shortened(type(value).__name__, LONGEST_VALUE)}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of known ones, with the nearest of them where there is one."""
    names = sorted(known)
    name = shortened(name, LONGEST_VALUE)  # matching takes time that grows with its length
    if not names:
        return UserError(f"unknown {kind} '{name}'. There are none.")
    # Of equally near names difflib takes the last one.
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    begin = [known for known in names if known.startswith(name)] if name else []
    if begin and not near:
        return UserError(f"unknown {kind} '{name}'. {shortened('Beginning so: ' + ', '.join(begin), 200)}.")
    hint = f"Did you mean '{near[0]}'?" if near else f"{shortened('Known: ' + ', '.join(names), 200)}."
    return UserError(f"unknown {kind} '{name}'. {hint}")
