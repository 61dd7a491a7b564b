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

from measuring import results
from measuring.markdown import table
from measuring.results import NOISY_RATIO, Row
from steps.deep_networks import APART, AS_ONE, MEANINGS, PLAIN, WAYS

MEBIBYTE = 2**20
# At most so much of the plain way's kept bytes at so much of its time; exponents of the growth with T; a block's time over the fused one's.
GOALS = [(0.35, 1.1), (0.12, 1.4)]
LARGEST_EXPONENT = 1.05
BLOCK_GOAL = 1.3
# Of rows: what was measured, by `op`.
NETWORK, SMALL, BLOCK, CONVOLUTION = "network", "small network", "batch norm and neurons", "convolution, batch norm and neurons"


@dataclass(frozen=True)
class Measured:
    """A step that was measured.

    Attributes:
        of: NETWORK, SMALL, BLOCK or CONVOLUTION
        shape: of network and images, in words
        way: its name
        time_steps: T
        batch: samples
        threads: of the CPU
        run: its time, which all have in common that took turns
        kept, peak: bytes between the two passes, and at most; 0 of blocks
        seconds: of both passes
        is_noisy: whether slow rounds took much longer than quick ones
        compared: what the comparison with the plain way came to
    """

    of: str
    shape: str
    way: str
    time_steps: int
    batch: int
    threads: int
    run: str
    kept: float
    peak: float
    seconds: float
    is_noisy: bool = False
    compared: str = ""


def measured(rows: Iterable[Row]) -> list[Measured]:
    """Those of a table."""
    values: dict[tuple, dict[str, float | str]] = {}
    for row in rows:
        values.setdefault((row.op, row.mode, row.provider, row.T, row.N, row.threads, row.date), {})[row.metric] = row.value
    return [
        Measured(
            *place, v.get("kept_bytes", 0), v.get("peak_bytes", 0), v["time"] / 1e3, v["time_p80"] > NOISY_RATIO * v["time_p20"],
            v.get(results.COMPARED, ""),
        )
        for place, v in values.items()
        if "time" in v
    ]  # fmt: skip


def write(path: Path) -> list[Path]:
    """Writes the report and the picture of a CSV file beside it and returns their paths."""
    rows = results.load(path)
    text, picture = path.with_suffix(".md"), path.with_suffix(".png")
    draw(measured(rows), picture)
    text.write_text(markdown(rows, picture.name), encoding="utf-8")
    return [text, picture]


def markdown(rows: list[Row], picture: str) -> str:
    """The report."""
    first, found = rows[0], measured(rows)
    clocks = {row.value for row in rows if row.metric == results.CLOCK}
    clock = " (what the threads of a step were given of the CPU: the machine had other work)" if clocks else ""
    parts = [
        f"# SEW-ResNet in training, and what it keeps: {first.device}",
        f"torch {first.torch}, commit {', '.join(dict.fromkeys(row.commit for row in rows))}, {first.date[:10]}, float32, channels last. "
        "LIF neurons with a window for surrogate and a detached hard reset, the images at random; forward and backward pass. As in "
        "`spiketrain`, glibc keeps freed memory, for all.",
        f"**Kept**: memory taken between the two passes; **peak**: at any time of both; weights and their gradients not counted. **ms**: median{clock}; ~ "
        f"where slow rounds (80 % quantile) took over {NOISY_RATIO} times as long as quick ones (20 %). **Of plain**: by the plain steps that took "
        "turns with it. Loss and gradients are compared with those of plain before anything is measured; rounding of ways that add up in "
        "another order, in float64.",
        f"![Bytes and time of each way]({picture})",
    ]
    for of, threads in dict.fromkeys((m.of, m.threads) for m in found if m.of == NETWORK):
        mine = [m for m in found if (m.of, m.threads) == (of, threads)]
        parts += [f"## {threads} thread{'s' if threads > 1 else ''}", f"{mine[0].shape}:", ways(mine), "\n".join(goals(mine))]
    if any(m.of == NETWORK for m in found):
        names = [word for name in dict.fromkeys(m.way for m in found) for word in name.split(", ")]
        parts.append("\n".join(f"- {word}: {MEANINGS[word]}" for word in dict.fromkeys(names) if word in MEANINGS))
    if blocks := [m for m in found if m.of in (BLOCK, CONVOLUTION)]:
        parts += [f"## Batch norm and neurons in one op: blocks (goal: {BLOCK_GOAL} x as fast)", of_blocks(blocks)]
    if len({m.time_steps for m in found if m.of == SMALL}) > 1:
        small = [m for m in found if m.of == SMALL]
        parts += [
            f"## Growth with T: exponents over T {small[0].time_steps} to {small[-1].time_steps} (goal: at most {LARGEST_EXPONENT}), then over the last two",
            f"{small[0].shape}, batch {small[0].batch}, {small[0].threads} thread{'s' if small[0].threads > 1 else ''}:", growth(small),
        ]  # fmt: skip
    if left := [row for row in rows if row.metric == results.LEFT_OUT]:
        parts += ["## Left out", "\n".join(f"- {row.provider}, T {row.T}: {row.value}" for row in left)]
    return "\n\n".join(parts) + "\n"


def _bases(found: list[Measured]) -> dict[tuple, Measured]:
    """The plain step that each one took turns with."""
    return {_turn(m): m for m in found if m.way == PLAIN}


def _turn(m: Measured) -> tuple:
    return m.of, m.time_steps, m.batch, m.run


def ways(found: list[Measured]) -> str:
    """A table with a row for each step, beside the plain one of as many time steps."""
    base = _bases(found)

    def cells(m):
        of = base[_turn(m)]
        return (
            m.way, m.time_steps, m.batch, f"{m.kept / MEBIBYTE:.1f}", f"{m.kept / of.kept:.3f}", f"{m.peak / MEBIBYTE:.1f}",
            f"{m.peak / of.peak:.2f}", f"{1e3 * m.seconds:.0f}{'~' if m.is_noisy else ''}", f"{m.seconds / of.seconds:.2f}", m.compared,
        )  # fmt: skip

    header = ("way", "T", "batch", "kept MiB", "of plain", "peak MiB", "of plain", "ms", "of plain", "loss and gradients")
    return table(header, map(cells, sorted(found, key=lambda m: (m.time_steps, m.run))))


def goals(found: list[Measured]) -> list[str]:
    """A line on each goal: which of our own ways meet it at all T."""
    base = _bases(found)
    lines = []
    for share, slower in GOALS:
        met = [
            way
            for way in WAYS
            if (mine := [m for m in found if m.way == way])
            and all(m.kept <= share * base[_turn(m)].kept and m.seconds <= slower * base[_turn(m)].seconds for m in mine)
        ]
        lines.append(f"- Goal: at most {share} x the bytes of plain at {slower} x its time: {'; '.join(met) if met else 'missed'}")
    return lines


def of_blocks(found: list[Measured]) -> str:
    """A table with a row for each block: both ways, and how many times as fast the second is."""
    pairs: dict[tuple, dict[str, Measured]] = {}
    for m in found:
        pairs.setdefault((m.of, m.shape, m.time_steps, m.batch, m.threads), {})[m.way] = m

    def cells(place, pair):
        of, shape, time_steps, batch, threads = place
        apart, one = pair[APART], pair[AS_ONE]
        times = (f"{1e3 * m.seconds:.2f}{'~' if m.is_noisy else ''}" for m in (apart, one))
        return of, shape, time_steps, batch, threads, *times, f"{apart.seconds / one.seconds:.2f}"

    header = ("block", "channels x side x side", "T", "batch", "threads", f"{APART}, ms", f"{AS_ONE}, ms", "times as fast")
    return table(header, (cells(*item) for item in pairs.items()))


def exponent(times: Iterable[float], values: Iterable[float]) -> float:
    """b of values ~ times^b, by least squares of the logarithms."""
    return statistics.linear_regression(list(map(math.log, times)), list(map(math.log, values))).slope


def growth(found: list[Measured]) -> str:
    """A table of exponents with a row for each way: of all T, and of the last two, where what does not grow counts least."""

    def cell(times, values):
        overall, last = exponent(times, values), exponent(times[-2:], values[-2:])
        return f"{overall:.2f}{' (goal missed)' if overall > LARGEST_EXPONENT else ''}, {last:.2f}"

    def cells(way):
        mine = sorted((m for m in found if m.way == way), key=lambda m: m.time_steps)
        times = [m.time_steps for m in mine]
        return way, *(cell(times, values) for values in ([m.kept for m in mine], [m.peak for m in mine], [m.seconds for m in mine]))

    return table(("way", "kept", "peak", "time"), map(cells, dict.fromkeys(m.way for m in found)))


def draw(found: list[Measured], path: Path) -> None:
    """Bytes and time of each way beside the plain one's, and what grows with T."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(17, 4.6), width_ratios=(1.3, 1, 1), layout="constrained")
    of_network = [m for m in found if m.of == NETWORK]
    if of_network:
        last, threads = max(m.time_steps for m in of_network), max(m.threads for m in of_network)
        shown = [m for m in of_network if (m.time_steps, m.threads) == (last, threads)]
        base, drawn = _bases(shown), {}
        for m in shown:  # plain in several runs once
            drawn.setdefault(m.way, (m.kept / base[_turn(m)].kept, m.seconds / base[_turn(m)].seconds))
        for number, (way, place) in enumerate(drawn.items()):
            left.scatter(*place, zorder=3, label=way, marker="osD^vP*X"[number // 10], color=f"C{number % 10}")
        left.set(title=f"T = {last}, {threads} thread{'s' if threads > 1 else ''}; dotted: goals")
        left.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    for share, slower in GOALS:
        left.plot([share, share, 0], [0, slower, slower], color="#bbbbbb", linestyle=":", linewidth=1)
    left.set(xlabel="bytes kept for the backward pass, of plain", ylabel="time of a step, of plain", xlim=(0, None), ylim=(0, None))
    growing = sorted((m for m in found if m.of == SMALL), key=lambda m: m.time_steps)
    for axes, what, label in ((middle, lambda m: m.kept / MEBIBYTE, "kept MiB"), (right, lambda m: 1e3 * m.seconds, "ms")):
        for way in dict.fromkeys(m.way for m in growing):
            mine = [m for m in growing if m.way == way]
            axes.loglog([m.time_steps for m in mine], [what(m) for m in mine], marker="o", markersize=3, label=way)
        axes.set(xlabel="T", ylabel=label, title="small network")
    if growing:
        middle.legend(fontsize=7)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
