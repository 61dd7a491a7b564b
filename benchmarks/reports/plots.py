"""Bar charts: how much faster than the others, and how close to a copy."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from ops.providers import COMPILED, COPY, EAGER, FUSED, PUBLISHED, TRITON
from ops.registry import BACKWARD, FORWARD, FORWARD_GRAD, FULL, OVERHEAD_SIZE, is_variant
from reports.figures import Figures
from steps.training_step import PREFIX

_COLOURS = {
    EAGER: "#8da0cb", COMPILED: "#66c2a5", PUBLISHED: "#fc8d62",
    FORWARD: "#a6cee3", BACKWARD: "#fdbf6f", FULL: "#1f5f8b",
}  # fmt: skip
_STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.edgecolor": "#888888", "xtick.color": "#444444", "ytick.color": "#444444", "axes.axisbelow": True,
}  # fmt: skip
_COLUMNS = 4
_HIGHEST_SHARE = 1.25  # a noisy copy must not flatten the rest


def save(figures: Figures, path: Path) -> list[Path]:
    """Writes the charts next to the table at `path` and returns their paths."""
    written = []
    with plt.rc_context(_STYLE):
        for provider in (FUSED, TRITON):
            if any(key[1] == provider for key in figures.measured):
                written += [_speedups(figures, provider, path), _shares_of_copy(figures, provider, path)]
    return [chart for chart in written if chart]


def _speedups(figures, provider, path):
    def panel(op, size):
        mode = figures.modes(op)[-1]
        return {opponent: figures.speedup(op, provider, mode, size, opponent) for opponent in (EAGER, COMPILED, PUBLISHED)}

    title = f"{provider}: speed-up, forward and backward together where there are both"
    return _chart(figures, panel, title, "times faster", f"speedup-{provider}", path, is_log=True)


def _shares_of_copy(figures, provider, path):
    def panel(op, size):
        modes = [mode for mode in figures.modes(op) if mode != FORWARD_GRAD]
        return {mode: figures.speedup(op, provider, mode, size, COPY) for mode in modes}

    title = f"{provider}: share of the bandwidth of a plain copy, counting the fewest bytes an op can move"
    return _chart(figures, panel, title, "of copy", f"copy-{provider}", path, is_log=False)


def _chart(figures, panel, title, axis_label, name, path, is_log):
    """One panel per op, a group of bars per size. ``panel(op, size)`` gives the figures by series."""
    data = {}
    for op, sizes in figures.sizes.items():
        if is_variant(op):
            continue
        if not op.startswith(PREFIX):
            groups = {size: {k: v for k, v in panel(op, size).items() if v} for size in sizes if (size.T, size.N) != OVERHEAD_SIZE}
            data[op] = {size: bars for size, bars in groups.items() if bars}
    data = {op: groups for op, groups in data.items() if groups}
    if not data:
        return None

    rows = -(-len(data) // _COLUMNS)
    inches = 3.6 * _COLUMNS, 2.7 * rows
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=inches, squeeze=False, sharey=True, layout="constrained")
    handles = {}
    for axis, (op, groups) in zip(axes.flat, data.items()):
        for place, bars in enumerate(groups.values()):
            width = 0.8 / max(len(bars), 3)
            for i, (series, bar) in enumerate(bars.items()):
                x = place + (i - (len(bars) - 1) / 2) * width
                hatch = "///" if bar.is_noisy else None
                handles[series] = axis.bar(x, bar.value, 0.92 * width, color=_COLOURS[series], hatch=hatch, edgecolor="white")
                label = f"{100 * bar.value:.0f}" if not is_log else f"{bar.value:.0f}" if bar.value >= 9.95 else f"{bar.value:.2g}"
                axis.annotate(
                    label,
                    (x, bar.value if is_log else min(bar.value, _HIGHEST_SHARE)),
                    (0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6.5,
                    color="#333333",
                )
        axis.set_title(op)
        # Side by side they have room for a size, not for its type beside it.
        labels = [str(size).replace(" ", "\n") if len(groups) > 5 else re.sub(r" (?=[a-z]+\d+$)", "\n", str(size)) for size in groups]
        axis.set_xticks(range(len(groups)), labels, fontsize=7.5)
        axis.axhline(1, color="#555555", linewidth=0.8, linestyle="--")
        axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)
        if is_log:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1, decimals=0))
            axis.set_ylim(0, min(axis.get_ylim()[1], _HIGHEST_SHARE))
    for axis in axes[:, 0]:
        axis.set_ylabel(axis_label)
    for axis in list(axes.flat)[len(data) :]:
        axis.set_visible(False)
    first = figures.rows[0]
    machine = f"{first.device}, {first.threads} CPU threads, torch {first.torch}"
    figure.suptitle(f"{title}\n{machine}; sizes are T x N; hatched: noisy", fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    chart = path.with_name(f"{path.stem}-{name}.png")
    figure.savefig(chart, dpi=130)
    plt.close(figure)
    return chart
