"""The one table of `peers.py` for README: a line for each neuron and network of each library, eager and compiled side by side."""

from __future__ import annotations

import re
from pathlib import Path

from libraries.ours import CONVERTED, OURS
from measuring.markdown import table
from measuring.results import LEFT_OUT, UNLIKE, VERSION, Row, load
from reports.figures import Figures, Size
from reports.goals import goal

FULL, FORWARD = "full", "forward"
COMPILED = "+compile"
BEGIN, END = r"<!-- peers: (.+) -->", "<!-- end of peers -->"
_COLUMNS = (
    "", "of", "T x N", "spikeops, ms", "theirs, x", "+ compile, x", "kept, MB", "peak, MB", "first call, s: ours", "theirs", "+ compile"
)  # fmt: skip
_LEGEND = """\
**ms**: spikeops, forward and backward, in brackets forward alone. **x**: their time over ours, likewise, as their users run it and under
`torch.compile`; in bold what falls short of its goal, which stands beside it. **kept**, **peak**: memory between the two passes, and at
most in both, ours / theirs. **first call**: with compilation. A line is there only if both compute the same: outputs and gradients, or
loss and gradients, are compared first."""


def summary(rows: list[Row]) -> str:
    """The table, what it holds in words, and what is not in it."""
    if not any(row.metric == "time" for row in rows):
        return "Nothing was measured.\n"
    figures, first = Figures(rows), rows[0]
    versions = ", ".join(f"{row.provider} {row.value}" for row in rows if row.metric == VERSION)
    run = f"{first.device}, {first.threads} threads, torch {first.torch}, commit {first.commit}, {first.date[:10]}"
    about = ", ".join(filter(None, [run, versions])) + "."
    lines, missed, asked = [], 0, 0
    for op, size, provider in _opponents(figures):
        line = _Line(figures, op, size, provider, first.device)
        lines.append(line.cells())
        missed, asked = missed + line.missed, asked + line.asked
    parts = [about, table(_COLUMNS, lines), _LEGEND]
    if asked:
        parts.append(f"Goals reached: {asked - missed} of {asked} (`benchmarks/README.md` has them).")
    parts += filter(None, [_notes(figures)])
    return "\n\n".join(parts) + "\n"


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


def _opponents(figures):
    """(op, size, provider) of each line: whoever was timed, eager or compiled, in the order of measurement."""
    found = {}
    for row in figures.rows:
        if row.metric == "time" and row.provider not in OURS:
            op, provider = row.op.removesuffix(":compiled"), row.provider.removesuffix(COMPILED)
            found[op, Size(row.T, row.N, row.dtype), provider] = None
    return found


class _Line:
    def __init__(self, figures, op, size, provider, device):
        self._figures, self._op, self._size, self._provider, self._device = figures, op, size, provider, device
        self.missed = self.asked = 0

    def cells(self):
        kind, library = self._op.split(":")[:2]
        name = self._provider if self._provider.startswith(library) else f"{library}, {self._provider}"
        compiled_op, compiled = f"{self._op}:compiled", self._provider + COMPILED
        base = self._op if self._figures.has(self._op, OURS[0], FULL, self._size) else compiled_op
        return [
            f"`{kind}`", name, self._size, self._pair(lambda mode: self._milliseconds(base, mode)),
            self._ratios(self._op, self._provider), self._ratios(compiled_op, compiled),
            self._memory("kept_bytes", base), self._memory("peak_bytes", base),
            self._first_call(base, OURS[0]), self._first_call(self._op, self._provider), self._first_call(compiled_op, compiled),
        ]  # fmt: skip

    def _pair(self, value):
        full, forward = value(FULL), value(FORWARD)
        return f"{full} ({forward})" if full and forward else full or ""

    def _milliseconds(self, op, mode):
        time = self._figures.milliseconds(op, OURS[0], mode, self._size)
        return "" if time is None else ("~" if time.is_noisy else "") + f"{time.value:.3g}"

    def _ratios(self, op, provider):
        return self._pair(lambda mode: self._ratio(op, provider, mode))

    def _ratio(self, op, provider, mode):
        ratio = self._figures.speedup(op, OURS[0], mode, self._size, provider)
        if ratio is None:
            return ""
        wanted = goal(op, provider, self._size, mode, self._device)
        text = ("~" if ratio.is_noisy else "") + f"{ratio.value:.2f}"
        if wanted is None:
            return text
        self.asked += 1
        if ratio.value >= wanted:
            return text
        self.missed += 1
        return f"**{text}, goal {wanted:g}**"

    def _memory(self, metric, op):
        provider = self._provider if op == self._op else self._provider + COMPILED
        values = [self._figures.value(metric, op, who, FULL, self._size) for who in (OURS[0], provider)]
        return "" if None in values else " / ".join(f"{value / 1e6:.3g}" for value in values)

    def _first_call(self, op, provider):
        seconds = self._figures.value("first_call_seconds", op, provider, FULL, self._size)
        return "" if seconds is None else f"{seconds:.2g}"


def _notes(figures):
    def name(row):
        return f"{row.op.removesuffix(':compiled')} by {row.provider}" + (f", {row.T} x {row.N}" if row.T else "")

    unlike = figures.list_of_reasons(UNLIKE, name)
    left_out = figures.list_of_reasons(LEFT_OUT, name)
    is_converted = any(row.provider == CONVERTED for row in figures.rows)
    parts = {
        f"`{CONVERTED}`: the library's own network after that call; what is above 1 is what writing it anew would gain.": is_converted,
        f"Spikes are the same, the gradient is not:\n\n{unlike}": unlike,
        f"Not in the table:\n\n{left_out}": left_out,
    }
    return "\n\n".join(part for part, is_there in parts.items() if is_there)
