"""The style of all pictures: colours, empty figures, labelled axes, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiketrain.files import write_atomically

INK, GREY = "#22303c", "#9aa5b1"
BLUE, ORANGE, RED = "#2a6fbb", "#e07a1f", "#b3261e"
LAYERS = ["#2a6fbb", "#1b998b", "#7b4ea3", "#c8553d", "#5c7a29", "#a0527f"]  # colours of layers of neurons
CURVES = ["#2a6fbb", "#e07a1f", "#1b998b", "#7b4ea3", "#c8553d", "#5c7a29", "#a0527f", "#22303c"]  # and of runs side by side
KINDS = ("png", "pdf", "svg")  # of files


def empty_figure(width: float, height: float):
    """An empty figure of so many inches."""
    # The object interface, not pyplot: no global state, no window system.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels(count: int) -> tuple[int, int, list[tuple[int, int, bool]]]:
    """Rows, columns, and of each of so many panels (row, column, whether it is the last one of its column): one below the other; of more than
    eight in columns next to each other, the first column first."""
    columns = -(-count // 8)
    rows = -(-count // columns)
    return rows, columns, [(i % rows, i // rows, i % rows == rows - 1 or i == count - 1) for i in range(count)]


def title_break(columns: int) -> str:
    """Between the name of a panel and what is said of it: there is less room in several columns."""
    return ": " if columns == 1 else "\n"


def label_axes(axes, title: str, x: str, y: str) -> None:
    """Title and names of the axes, of which a logarithmic one says so, without a frame above and to the right."""
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(f"{y}, logarithmic" if axes.get_yscale() == "log" else y)
    axes.tick_params(colors=INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def logarithmic(axes, values: Sequence[float]) -> None:
    """A logarithmic vertical axis with plain numbers, where all values that are drawn are above 0."""
    if min(values) <= 0:
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    # Over more than a decade the labels between the powers of ten would lie over one another.
    axes.yaxis.set_minor_formatter("{x:g}" if max(values) < 10 * min(values) else "")
    axes.tick_params(which="minor", colors=INK, labelsize=8)


def save_figure(figure, path: Path) -> None:
    """The figure as what the file's name ends in, one of `KINDS`."""
    write_atomically(path, lambda file: figure.savefig(file, format=path.suffix[1:].lower(), dpi=130))


def in_units(value: float) -> str:
    """A number with three digits and a unit of thousands, as people read it: 0.25, 12.3 k, 1.23 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
