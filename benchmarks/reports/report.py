"""Turns a table of measurements into Markdown and plots."""

from __future__ import annotations

import sys
from pathlib import Path

from measuring.markdown import table
from measuring.results import ALTHOUGH_RED, LEFT_OUT, NOISY_RATIO, Row, load
from ops.providers import CLONE, COMPILED, COPY, EAGER, FUSED, PUBLISHED, TRITON
from ops.registry import BACKWARD, FORWARD, FORWARD_GRAD, FULL, OVERHEAD_SIZE
from reports.figures import Figure, Figures
from steps import catalogue
from steps.training_step import PLAIN_LAUNCHES, PREFIX

OURS = (FUSED, TRITON)
OPPONENTS = (EAGER, COMPILED, PUBLISHED)

_LEGEND = f"""\
Times are medians of rounds in which all providers took turns. Speed-up: the other's time over ours. **eager**: the plain
PyTorch loop over time steps. **compiled**: the same under `torch.compile`, only for short T, since unrolling a long loop
takes minutes. **published**: the O(T^2) formulation of TSSL-BP with the time axis last. Minimum bytes: each input read once
per pass, each output written once, so for T x N values in and out 2 T N values forward, 3 backward, 5 both (4 where the
backward pass does not need the input). **Of copy** is the share that the op reaches of the bandwidth of a plain copy of that
many bytes into a tensor that exists; **of clone** is the same for a copy into fresh memory, which is what an op that returns
a new tensor does. As in `spiketrain`, glibc keeps freed memory for all providers, unless the title says that it is returned. A figure with ~ is noisy: its slow rounds (80 % quantile) took over {NOISY_RATIO} times as long as its
quick ones (20 %). **Page faults** per call, on the CPU: pages of fresh memory that the operating system had to supply for
the results. They can cost more than the op itself. On a GPU, **ms** is the device's time alone, its caches flushed, and **host us**
is how long a call keeps the host: for small tensors, or without a CUDA graph, that is what one waits for.
"""


def write(path: Path) -> list[Path]:
    """Writes the report and the plots of a CSV file next to it and returns their paths."""
    rows = load(path)
    figures = Figures(rows)
    plots = _plots(figures, path)
    report = path.with_suffix(".md")
    report.write_text(markdown(figures, [plot.name for plot in plots]), encoding="utf-8")
    return [report, *plots]


def markdown(figures: Figures, plots: list[str] = ()) -> str:
    """The report."""
    first = figures.rows[0]
    parts = [
        f"# Benchmarks on {first.device}",
        f"torch {first.torch}, {first.threads} CPU threads, commit {first.commit}, {first.date}",
        _LEGEND,
        *(f"![{name}]({name})" for name in plots),
    ]
    sections = (
        ("Training steps", _training_steps(figures)),
        ("Ops", _ops(figures)),
        ("Overhead per call", _overhead(figures)),
        ("Kept for the backward pass", _saved(figures)),
        ("torch.compile", _compile_times(figures)),
        ("Measured although tests are red", _reasons(figures, ALTHOUGH_RED)),
        ("Not measured", _reasons(figures, LEFT_OUT)),
    )
    for title, body in sections:
        if body:
            parts += [f"## {title}", body]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def summary(rows: list[Row]) -> str:
    """A short table for a terminal: both passes of each op, or its only one."""
    figures = Figures(rows)
    columns = ("op", "T x N", "by", "ms", *(f"x {name}" for name in OPPONENTS), "of copy")
    lines = [columns]
    for op, sizes in figures.sizes.items():
        for size in sizes:
            for cells in _cells(figures, op, figures.modes(op)[-1], size):
                lines.append(tuple(cells[column] for column in columns))
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _cells(figures, op, mode, size):
    """What there is to say of our kernels in one mode at one size: the cells of a line, by column."""
    for provider in OURS:
        where = op, provider, mode, size
        if figures.has(*where):
            need, faults, host = (figures.value(metric, *where) for metric in ("minimum_bytes", "page_faults", "host_time"))
            yield {
                "op": op,
                "T x N": str(size),
                "mode": mode,
                "by": provider,
                "ms": _show(figures.milliseconds(*where)),
                "minimum MB": f"{need / 1e6:.3g}" if need else "",
                "GB/s": _show(figures.gigabytes_per_second(*where)),
                "of copy": _show(figures.speedup(*where, COPY), "%"),
                "of clone": _show(figures.speedup(*where, CLONE), "%"),
                **{f"x {name}": _show(figures.speedup(*where, name)) for name in OPPONENTS},
                "page faults": "" if faults is None else f"{faults:.0f}",
                "host us": "" if host is None else f"{1e3 * host:.0f}",
            }


def _ops(figures):
    lines = [
        cells
        for op, mode, size in _measured_ops(figures)
        if (size.T, size.N) != OVERHEAD_SIZE
        for cells in _cells(figures, op, mode, size)
    ]
    return lines and table(list(lines[0]), [cells.values() for cells in lines])


def _overhead(figures):
    """Microseconds of calls on so few neurons that Python and dispatch are all that takes time."""
    modes = (FORWARD, FORWARD_GRAD, BACKWARD, FULL)
    lines = []
    for op, sizes in figures.sizes.items():
        for size in sizes:
            if (size.T, size.N) != OVERHEAD_SIZE:
                continue
            for provider in (*OURS, EAGER):
                calls = [_overhead_of(figures, op, provider, mode, size) for mode in modes]
                if any(calls):
                    lines.append([op, provider, *(_show(call) for call in calls)])
    if not lines:
        return ""
    T, N = OVERHEAD_SIZE
    return f"Microseconds per call at T = {T}, N = {N}: Python and dispatch.\n\n" + table(["op", "by", *modes], lines)


def _overhead_of(figures, *where):
    milliseconds = figures.milliseconds(*where)
    # On a GPU the event timer sees the device alone; there the host's time is measured by itself.
    host = figures.value("host_time", *where)
    if host is not None:
        return Figure(1e3 * host, False)
    return milliseconds and Figure(1e3 * milliseconds.value, milliseconds.is_noisy)


def _training_steps(figures):
    lines, kinds = [], {}
    for name, kind in catalogue.settings().items():
        for size in figures.sizes.get(PREFIX + name, []):
            for provider in (FUSED, PLAIN_LAUNCHES, TRITON, EAGER, PUBLISHED):
                where = PREFIX + name, provider, FULL, size
                if figures.has(*where):
                    speedups = [_show(figures.speedup(*where, opponent)) for opponent in (EAGER, PUBLISHED)]
                    lines.append([name, size.T, size.N, provider, _show(figures.milliseconds(*where)), *speedups])
                    kinds.setdefault(kind.about, []).append(name)
    if not lines:
        return ""
    parts = "; ".join(f"{', '.join(dict.fromkeys(names))}: {about}" for about, names in kinds.items())
    about = (
        f"Whole steps of presets. {parts}. eager: the trainer on the reference backend. published: plain PyTorch, one time step "
        "after the other, as the paper describes it (TSSL-BP: its code's own formulation). On a GPU: from a device at rest to a device "
        f"at rest; {PLAIN_LAUNCHES}: time loops that are not replayed as a CUDA graph."
    )
    return about + "\n\n" + table(["preset", "T", "batch", "by", "ms", "x eager", "x published"], lines)


def _saved(figures):
    providers = (FUSED, EAGER, PUBLISHED)
    lines = []
    for op, sizes in figures.sizes.items():
        for size in sizes:
            kept = [figures.value("saved_bytes", op, provider, FORWARD_GRAD, size) for provider in providers]
            if any(value is not None for value in kept) and (size.T, size.N) != OVERHEAD_SIZE:
                unit = size.T * size.N * _bytes_of(size.dtype)
                cells = ["" if value is None else f"{value / 1e6:.3g} MB = {value / unit:.2f} x" for value in kept]
                lines.append([op, size, *cells])
    about = "Memory kept from forward to backward, and as a multiple of the input's.\n\n"
    return lines and about + table(["op", "T x N", *providers], lines)


def _compile_times(figures):
    lines = []
    for op, mode, size in _measured_ops(figures):
        seconds = figures.value("compile_seconds", op, COMPILED, mode, size)
        if seconds is not None and seconds >= 0.1:  # a mode that shares its graph with the one before compiles nothing
            lines.append([op, size, mode, f"{seconds:.1f}"])
    about = "Seconds that the first call takes longer than the next ones.\n\n"
    return lines and about + table(["op", "T x N", "mode", "seconds"], lines)


def _reasons(figures, metric):
    return figures.list_of_reasons(metric, lambda row: f"{row.op} by {row.provider}")


def _measured_ops(figures):
    ops = [op for op in figures.sizes if not op.startswith(PREFIX)]
    return [(op, mode, size) for op in ops for mode in figures.modes(op) for size in figures.sizes[op]]


def _bytes_of(dtype):
    return {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}[dtype]


def _show(figure: Figure | None, unit: str = "") -> str:
    if figure is None:
        return ""
    value = 100 * figure.value if unit == "%" else figure.value
    digits = f"{value:.0f}" if value >= 100 or unit == "%" else f"{value:.3g}"
    return ("~" if figure.is_noisy else "") + digits + (" %" if unit == "%" else "")


def _plots(figures, path):
    try:
        from reports import plots
    except ImportError as error:
        print(f"no plots: {error}", file=sys.stderr)
        return []
    return plots.save(figures, path)
