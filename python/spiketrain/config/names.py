"""Names of methods, as users write them."""

from __future__ import annotations

from collections.abc import Iterable

from spiketrain.errors import unknown_name


def find_name(kind: str, name: str, known: Iterable[str]) -> str:
    """The one of the known names that is meant, however it is set apart: ``tsslbp``, ``TSSL-BP`` and ``tssl_bp`` are one.

    Raises:
        UserError: none of them; the message names the nearest.
    """
    known = list(known)
    by_letters = {_letters(candidate): candidate for candidate in known}
    if name in known:
        return name
    if _letters(name) in by_letters:
        return by_letters[_letters(name)]
    raise unknown_name(kind, name, known)


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c not in "-_ ")
