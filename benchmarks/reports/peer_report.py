"""A table of `peers.py` for readers."""

from __future__ import annotations

from pathlib import Path

from measuring.markdown import table
from measuring.results import LEFT_OUT, NOISY_RATIO, Row, load
from reports.figures import Figures

OURS = "spikeops"
FULL, FORWARD = "full", "forward"

_LEGEND = f"""\
`lif:X`: one layer of the neurons of library X; `net:X`: loss and gradients of a convolutional net (convolution, neurons,
convolution, neurons, linear) with them, N = batch. spikeops computes the same neuron, with the same surrogate, and all within a
block took turns. **ms** are medians; on a GPU the device's own time, with cold caches, of a call that the host had enqueued
before. **x**: that time over that of `spikeops`. **host ms**: time until the host has enqueued a call, forward and backward, to an
idle device. **MB**: memory that forward and backward take at most, results included. **first call**: seconds, compilation included.
**spikes**: the share of spikes that differ from the reference's; **gradient**, **loss**: the largest difference over the largest
value. + compile: under `torch.compile`. ~: noisy, the slow rounds (80 % quantile) took over {NOISY_RATIO} times as long as the
quick ones (20 %). *: the device had to wait for the host, which the time contains.
"""
_COLUMNS = ("neurons", "T x N", "by", "full ms", "x", "forward ms", "x", "host ms", "MB", "first call", "spikes", "gradient", "loss")


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
    parts = [f"# spikeops and its peers on {first.device}", about, _LEGEND.strip()]
    lines = [_line(figures, op, size, provider) for op, sizes in figures.sizes.items() for size in sizes
             for provider in _providers(figures, op, size)]  # fmt: skip
    if lines:
        parts.append(table(_COLUMNS, lines))
    if left_out := _left_out(figures):
        parts += ["## Not measured", left_out]
    return "\n\n".join(parts) + "\n"


def _providers(figures, op, size):
    wanted = (op, size.T, size.N, size.dtype)
    return dict.fromkeys(row.provider for row in figures.rows if row.metric == "time" and (row.op, *row.key[3:]) == wanted)


def _line(figures, op, size, provider):
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
    return [*cells, value("host_time", "3g"), value("peak_bytes", "4g", 1e-6), value("first_call_seconds", "2g"),
            value("spikes_differ", "2g"), value("gradient_error", "1e"), value("loss_error", "1e")]  # fmt: skip


def _left_out(figures):
    return figures.list_of_reasons(LEFT_OUT, lambda row: f"{row.provider} ({row.op}, {row.T} x {row.N}, {row.dtype}, {row.mode})")
