"""results.png: every seed's last and best epoch, with mean and standard deviation, beside the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiketrain.reports.drawing import BLUE, GREY, INK, ORANGE, RED, empty_figure, label_axes, save_figure
from spiketrain.reports.reproduction.figures import Experiment

_ROWS = ("published", "best epoch", "last epoch")  # from the top
_PANELS_BESIDE = 2  # columns of panels, where there are more than three


def save_picture(experiments: Sequence[Experiment], path: Path) -> None:
    """A panel for each preset, with an axis of its own: figures of two presets are no scale for each other."""
    shown = [experiment for experiment in experiments if experiment.complete]
    columns = _PANELS_BESIDE if len(shown) > 3 else 1
    lines = max(1, -(-len(shown) // columns))
    figure = empty_figure(7.5 * columns, 0.5 + 1.9 * lines)
    title = "mean ± standard deviation (n - 1); dots: each seed, and the best published one"
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    for place, experiment in enumerate(shown, start=1):
        _draw(figure.add_subplot(lines, columns, place), experiment)
    if not shown:
        figure.text(0.5, 0.4, "no run is complete yet", ha="center", color=GREY)
    save_figure(figure, path)


def _draw(axes, experiment: Experiment) -> None:
    runs, digits = experiment.complete, experiment.digits
    own = {"best epoch": (experiment.best, [run.best for run in runs], ORANGE), "last epoch": (experiment.last, [run.last for run in runs], BLUE)}
    published = experiment.published
    labels = {}
    for name, (summary, figures, colour) in own.items():
        height = -_ROWS.index(name)
        # Seeds lie side by side, a little apart, or equal figures would hide one another.
        if summary is None:  # only the best epoch was tested
            continue
        apart = [0.24 * (i - (len(figures) - 1) / 2) / max(len(figures) - 1, 1) for i in range(len(figures))]
        axes.scatter(figures, [height - 0.22 + shift / 2 for shift in apart], s=16, color=colour, alpha=0.55, linewidths=0, zorder=2)
        axes.errorbar(summary.mean, height + 0.12, xerr=summary.std, fmt="o", markersize=6, capsize=4, color=colour, zorder=3)
        labels[name] = _text(summary.mean, summary.std, digits)
    if published.mean is not None:
        axes.errorbar(published.mean, 0, xerr=published.std, fmt="D", markersize=6, capsize=4, color=INK, zorder=3)
        axes.axvline(published.mean, color=INK, linewidth=0.7, linestyle="--", zorder=1)
        labels["published"] = _text(published.mean, published.std, digits)
    if published.best is not None:
        axes.scatter([published.best], [-0.22], s=16, color=GREY, linewidths=0, zorder=2)
        labels.setdefault("published", f"best {published.best:.{digits}f}")
    axes.set_yticks([-i for i in range(len(_ROWS))], labels=[f"{name}\n{labels.get(name, 'no figure')}" for name in _ROWS])
    axes.set_ylim(-2.5, 0.5)
    axes.margins(x=0.12)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=7)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.6)
    axes.set_axisbelow(True)
    verdict = experiment.verdict(experiment.best)
    title = f"{experiment.preset}, {experiment.seeds} seed{'s' * (len(experiment.runs) != 1)}" + (f": {verdict}" if verdict else "")
    label_axes(axes, title, f"test {experiment.measure}", "")
    if experiment.is_short:
        axes.set_title(title, color=RED, fontsize=10, loc="left")


def _text(mean: float, std: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
