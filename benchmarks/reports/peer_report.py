"""A table of `peers.py` for readers."""

from __future__ import annotations

from pathlib import Path

from measuring.markdown import table
from measuring.results import LEFT_OUT, NOISY_RATIO, UNLIKE, VERSION, Row, load
from reports.figures import Figures
from reports.goals import goal

OURS = "spikeops"
FULL, FORWARD = "full", "forward"

_LEGEND = f"""\
`lif:X`: one layer of the neurons of library X, as they come by default, and likewise with the other kinds; of recurrent layers N
counts the batch too. `conv-net:X`, `recurrent-net:X`: loss and gradients of a network with them, N = batch. spikeops computes the same
neurons, with the same surrogate and weights, and all within a block took turns; whose outputs or gradients were not the same was not
timed. **ms** are medians; on a GPU the device's own time, with cold caches, of a call that the host had enqueued before. **x**: that time
over that of `spikeops`; **goal**: what it is meant to be at least, for both passes, "missed" if it is not, or if forward is not ahead.
**host ms**: time until the host has enqueued a call, forward and backward, to an idle device. **kept MB**: memory taken between the
forward and the backward pass, **MB**: what both take at most, results included. **first call**: seconds, compilation included.
**spikes**: the share of spikes that differ from the reference's; **gradient**, **loss**: the largest difference over the largest
value. + compile: under `torch.compile`. ~: noisy, the slow rounds (80 % quantile) took over {NOISY_RATIO} times as long as the
quick ones (20 %). *: the device had to wait for the host, which the time contains.
"""
_COLUMNS = (
    "neurons", "T x N", "by", "full ms", "x", "goal", "forward ms", "x", "host ms", "kept MB", "MB", "first call", "spikes", "gradient",
    "loss",
)  # fmt: skip


def write(path: Path) -> list[Path]:
    """Writes the report of a CSV file next to it and returns its path."""
    report = path.with_suffix(".md")
    report.write_text(markdown(load(path)), encoding="utf-8")
    return [report]


def markdown(rows: list[Row]) -> str:
    """The report."""
    if not rows:
        return "Nothing was measured.\n"
    figures, first = Figures(rows), rows[0]
    about = f"torch {first.torch}, {first.threads} CPU threads, commit {first.commit}, {first.date}"
    versions = ", ".join(f"{row.provider} {row.value}" for row in rows if row.metric == VERSION)
    parts = [f"# spikeops and its peers on {first.device}", ", ".join(filter(None, [about, versions])), _LEGEND.strip()]
    lines = [_line(figures, op, size, provider, first.device) for op, sizes in figures.sizes.items() for size in sizes
             for provider in _providers(figures, op, size)]  # fmt: skip
    if lines:
        parts.append(table(_COLUMNS, lines))
    if unlike := _by_reason(figures, UNLIKE):
        parts += ["## Not the same gradient", unlike]
    if left_out := _by_reason(figures, LEFT_OUT):
        parts += ["## Not measured", left_out]
    return "\n\n".join(parts) + "\n"


def _providers(figures, op, size):
    wanted = (op, size.T, size.N, size.dtype)
    return dict.fromkeys(row.provider for row in figures.rows if row.metric == "time" and (row.op, *row.key[3:]) == wanted)


def _line(figures, op, size, provider, device):
    def value(metric, digits, scale=1.0, mode=FULL):
        number = figures.value(metric, op, provider, mode, size)
        return "" if number is None else f"{number * scale:.{digits}}"

    cells = [op, str(size), provider]
    for mode in (FULL, FORWARD):
        time = figures.milliseconds(op, provider, mode, size)
        ratio = figures.speedup(op, OURS, mode, size, provider)
        late = figures.value("waited_for_host", op, provider, mode, size)
        cells.append("" if time is None else ("~" if time.is_noisy else "") + f"{time.value:.3g}" + ("*" if late else ""))
        cells.append("" if ratio is None else f"{ratio.value:.2f}")
        if mode == FULL:
            cells.append(_goal(figures, op, size, provider, device))
    return [*cells, value("host_time", "3g"), value("kept_bytes", "4g", 1e-6), value("peak_bytes", "4g", 1e-6), value("first_call_seconds", "2g"),
            value("spikes_differ", "2g"), value("gradient_error", "1e"), value("loss_error", "1e")]  # fmt: skip


def _goal(figures, op, size, provider, device):
    wanted, missed = "", False
    for mode in (FULL, FORWARD):
        goal_of_mode = goal(op, provider, size, mode, device)
        ratio = figures.speedup(op, OURS, mode, size, provider)
        if goal_of_mode is None or ratio is None:
            continue
        wanted = wanted or f"{goal_of_mode:g}"
        missed |= ratio.value < goal_of_mode
    return f"**{wanted} missed**" if missed else wanted


def _by_reason(figures, metric):
    return figures.list_of_reasons(metric, lambda row: f"{row.provider} ({row.op}, {row.T} x {row.N}, {row.dtype}, {row.mode})")
