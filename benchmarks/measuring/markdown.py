"""Tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def table(header: Iterable, lines: Iterable[Iterable]) -> str:
    """A row of cells for each line, below the header's."""
    header = list(header)
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
