"""The one table of `peers.py` for README: a line for each neuron and network, a column for each library."""

from __future__ import annotations

import re
from pathlib import Path

from libraries.ours import CONVERTED, OURS
from measuring.markdown import table
from measuring.results import VERSION, Row, load
from reports.figures import Figures, Size
from reports.goals import goal

FULL, FORWARD = "full", "forward"
COMPILED = "+compile"
BEGIN, END = r"<!-- peers: (.+) -->", "<!-- end of peers -->"
_NAMES = {"spikingjelly": "SpikingJelly", "snntorch": "snnTorch", "norse": "Norse", "sinabs": "sinabs"}
_LEGEND = """\
**ms**: spikeops, forward and backward; each library has neurons of its own by default, which ours are measured with. Then the time of the
library over ours, as its users run it / under `torch.compile`; of several ways that it has, the fastest. In bold what falls short of
[its goal](benchmarks/README.md#other-libraries). Both compute the same: outputs and gradients, or loss and gradients, are compared first."""


def summary(rows: list[Row]) -> str:
    """The table, and what it holds in words."""
    if not any(row.metric == "time" for row in rows):
        return "Nothing was measured.\n"
    figures, first = Figures(rows), rows[0]
    versions = ", ".join(f"{_NAMES.get(row.provider, row.provider)} {row.value}" for row in rows if row.metric == VERSION)
    run = f"{first.device}, {first.threads} threads, torch {first.torch}, commit {first.commit}, {first.date[:10]}"
    about = ", ".join(filter(None, [run, versions])) + "."
    table_of_ratios = _Ratios(figures, first.device)
    lines = [table_of_ratios.line(kind, size) for kind, size in table_of_ratios.lines()]
    parts = [about, table(("", "T x N", "ms", *(_NAMES.get(name, name) for name in table_of_ratios.libraries)), lines), _LEGEND]
    if table_of_ratios.asked:
        parts.append(f"Goals reached: {table_of_ratios.reached} of {table_of_ratios.asked}, the forward pass alone counted too.")
    return "\n\n".join(parts) + "\n"


class _Ratios:
    """Times of others over ours. Counts goals, of the forward pass alone as well."""

    def __init__(self, figures: Figures, device: str):
        self._figures, self._device = figures, device
        self.asked = self.reached = 0
        timed = [row for row in figures.rows if row.metric == "time" and row.provider not in (*OURS, CONVERTED)]
        self._timed = dict.fromkeys((row.op, row.provider, Size(row.T, row.N, row.dtype)) for row in timed)
        found = dict.fromkeys(op.split(":")[1] for op, _, _ in self._timed)
        self.libraries = [*(name for name in _NAMES if name in found), *(name for name in found if name not in _NAMES)]

    def lines(self) -> list[tuple[str, Size]]:
        """(kind, size), in the order of measurement, each kind's together."""
        lines = list(dict.fromkeys((op.split(":")[0], size) for op, _, size in self._timed))
        kinds = list(dict.fromkeys(kind for kind, _ in lines))
        return sorted(lines, key=lambda line: kinds.index(line[0]))

    def line(self, kind: str, size: Size) -> list[str]:
        cells = [self._cell(kind, library, size) for library in self.libraries]
        return [f"`{kind}`", str(size), self._ours(kind, size), *cells]

    def _ours(self, kind, size):
        """From the quickest to the slowest of our own beside them."""
        times = []
        for op in dict.fromkeys(op for op, _, measured in self._timed if op.split(":")[0] == kind and measured == size):
            times.append(self._figures.milliseconds(op, OURS[0], FULL, size))
        values = sorted(time.value for time in times if time is not None)
        return "" if not values else " to ".join(dict.fromkeys(f"{value:.3g}" for value in (values[0], values[-1])))

    def _cell(self, kind, library, size):
        op = f"{kind}:{library}"
        eager, compiled = self._ratio(op, size, False), self._ratio(f"{op}:compiled", size, True)
        return f"{eager or '-'} / {compiled}" if compiled else eager

    def _ratio(self, op, size, is_compiled):
        """The smallest of those of a library, marked where one of them misses its goal."""
        ratios, is_missed = [], False
        for timed_op, provider, timed_size in self._timed:
            if (timed_op, timed_size) != (op, size) or provider.endswith(COMPILED) != is_compiled:
                continue
            for mode in (FULL, FORWARD):
                ratio = self._figures.speedup(op, OURS[0], mode, size, provider)
                wanted = goal(op, provider, size, mode, self._device)
                if ratio is not None and wanted is not None:
                    self.asked += 1
                    self.reached += ratio.value >= wanted
                    is_missed |= mode == FULL and ratio.value < wanted
                if ratio is not None and mode == FULL:
                    ratios.append(ratio)
        if not ratios:
            return ""
        smallest = min(ratios, key=lambda ratio: ratio.value)
        text = ("~" if smallest.is_noisy else "") + f"{smallest.value:.1f}"
        return f"**{text}**" if is_missed else text


def update_readme(readme: Path, results: Path) -> None:
    """Writes the summary of a table of results into the block of README that begins ``<!-- peers: ... -->``.

    Raises:
        ValueError: it has no such block, or more than one.
    """
    text = readme.read_text(encoding="utf-8")
    block = f"<!-- peers: {results.name} -->\n{summary(load(results))}{END}"
    text, count = re.subn(f"{BEGIN}.*?{END}", lambda match: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{readme}: expected one block from {BEGIN} to {END}, found {count}.")
    readme.write_text(text, encoding="utf-8")
