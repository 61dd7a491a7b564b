"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], numbers: bool = False, rule: bool = False) -> list[str]:
    """The lines of a table, the first row of which is its header.

    Args:
        rows: cells, as many in each row
        numbers: all columns but the first hold numbers, which stand to the right
        rule: draw a line below the header
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    if rule:
        rows = [rows[0], ["-" * width for width in widths], *rows[1:]]

    def line(row: Sequence[str]) -> str:
        cells = (cell.rjust(w) if numbers and i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        return "  ".join(cells).rstrip()

    return [line(row) for row in rows]
