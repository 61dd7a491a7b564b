"""Tables and a picture of how much memory and time training steps of deep networks take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from measuring.markdown import table

MEBIBYTE = 2**20
# At most so much of the plain way's kept bytes at so much of its time; exponents of the growth with T.
GOALS = [(0.35, 1.1), (0.12, 1.4)]
LARGEST_EXPONENT = 1.05


@dataclass(frozen=True)
class Measured:
    """A step that was measured.

    Attributes:
        way: its name
        time_steps: T
        kept, peak: bytes between the two passes, and at most
        seconds: of both passes
        compared: what the comparison with the plain way came to
    """

    way: str
    time_steps: int
    kept: int
    peak: int
    seconds: float
    compared: str = ""


def ways(rows: list[Measured], plain: str) -> str:
    """A table with a row for each step, beside the plain one of as many time steps."""
    base = {row.time_steps: row for row in rows if row.way == plain}

    def cells(row):
        of = base[row.time_steps]
        return (
            row.way, row.time_steps, f"{row.kept / MEBIBYTE:.1f}", f"{row.kept / of.kept:.3f}", f"{row.peak / MEBIBYTE:.1f}",
            f"{row.peak / of.peak:.2f}", f"{1e3 * row.seconds:.0f}", f"{row.seconds / of.seconds:.2f}", row.compared,
        )  # fmt: skip

    header = ("way", "T", "kept MiB", "of plain", "peak MiB", "of plain", "ms", "of plain", "loss and gradients")
    return table(header, map(cells, rows))


def goals(rows: list[Measured], plain: str, own: Iterable[str]) -> list[str]:
    """A line on each goal: which of our own ways meet it at all T."""
    base = {row.time_steps: row for row in rows if row.way == plain}
    lines = []
    for share, slower in GOALS:
        met = [
            way
            for way in own
            if (mine := [row for row in rows if row.way == way])
            and all(r.kept <= share * base[r.time_steps].kept and r.seconds <= slower * base[r.time_steps].seconds for r in mine)
        ]
        lines.append(f"- at most {share} x the bytes of plain at {slower} x its time: {'; '.join(met) if met else 'missed'}")
    return lines


def exponent(times: Iterable[float], values: Iterable[float]) -> float:
    """b of values ~ times^b, by least squares of the logarithms."""
    return statistics.linear_regression(list(map(math.log, times)), list(map(math.log, values))).slope


def growth(rows: list[Measured]) -> str:
    """A table of exponents with a row for each way: of all T, and of the last two, where what does not grow counts least."""

    def cell(times, values):
        overall, last = exponent(times, values), exponent(times[-2:], values[-2:])
        return f"{overall:.2f}{' (goal missed)' if overall > LARGEST_EXPONENT else ''}, {last:.2f}"

    def cells(way):
        mine = [row for row in rows if row.way == way]
        times = [row.time_steps for row in mine]
        return way, *(cell(times, values) for values in ([r.kept for r in mine], [r.peak for r in mine], [r.seconds for r in mine]))

    return table(("way", "kept", "peak", "time"), map(cells, dict.fromkeys(row.way for row in rows)))


def picture(rows: list[Measured], growing: list[Measured], plain: str, path: Path) -> None:
    """Bytes and time of each way beside the plain one's, and what grows with T."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    last = max((row.time_steps for row in rows), default=0)
    base = next((row for row in rows if row.way == plain and row.time_steps == last), None)
    for row in rows:
        if base is not None and row.time_steps == last:
            left.scatter(row.kept / base.kept, row.seconds / base.seconds, zorder=3, label=row.way)
    for share, slower in GOALS:
        left.plot([share, share, 0], [0, slower, slower], color="#bbbbbb", linestyle=":", linewidth=1)
    left.set(
        xlabel="bytes kept for the backward pass, of plain", ylabel="time of a step, of plain", ylim=(0, None), title=f"T = {last}; dotted: goals"
    )
    if base is not None:
        left.legend(fontsize=7)
    for axes, what, label in ((middle, lambda row: row.kept / MEBIBYTE, "kept MiB"), (right, lambda row: 1e3 * row.seconds, "ms")):
        for way in dict.fromkeys(row.way for row in growing):
            mine = [row for row in growing if row.way == way]
            axes.loglog([row.time_steps for row in mine], [what(row) for row in mine], marker="o", markersize=3, label=way)
        axes.set(xlabel="T", ylabel=label, title="small network")
    middle.legend(fontsize=7)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
