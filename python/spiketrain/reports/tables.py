"""Tables for terminals, and numbers as all tables and pictures show them."""

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


def shown_rate(rate: float) -> str:
    """A firing rate with four digits behind the point; neurons that hardly fire are told from those that never do."""
    return "0" if rate == 0 else f"{rate:.4f}" if rate >= 0.0001 else "< 0.0001"
