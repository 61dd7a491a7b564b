"""The drawings of the page, each narrow enough for a phone."""

from __future__ import annotations

from collections.abc import Sequence

from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.reports.comparison import DASHES
from spiketrain.reports.drawing import CURVES, INK, empty_figure, label_axes, logarithmic
from spiketrain.reports.page.facts import RunFacts

WIDTH, HEIGHT = 5.6, 3.5  # inches


def colour(number: int) -> str:
    return CURVES[number % len(CURVES)]


def dash(number: int) -> str:
    return DASHES[number // len(CURVES) % len(DASHES)]


def losses(runs: Sequence[RunFacts]):
    """Training loss over the epochs of each run."""
    drawing = empty_figure(WIDTH, HEIGHT)
    axes = drawing.add_subplot()
    for number, facts in enumerate(runs):
        _line(axes, facts, [row["train_loss"] for row in facts.run.history], number)
    logarithmic(axes, [row["train_loss"] for facts in runs for row in facts.run.history])
    return _finished(drawing, axes, "loss")


def figures(runs: Sequence[RunFacts]):
    """The figure that chooses the best epoch over the epochs of each run, in training as thin lines; the best epochs are marked, by a diamond
    what the test samples say of an epoch that others have chosen."""
    drawing = empty_figure(WIDTH, HEIGHT)
    axes = drawing.add_subplot()
    task = runs[0].run.task
    unit = 100 if task is CLASSIFICATION else 1
    for number, facts in enumerate(runs):
        history, best = facts.run.history, task.best(facts.run.history)
        _line(axes, facts, [unit * row[f"train_{task.name}"] for row in history], number, linewidth=0.7, alpha=0.5)
        _line(axes, facts, [unit * task.judged(row) for row in history], number)
        axes.plot([best["epoch"]], [unit * task.judged(best)], "o", color=colour(number), markersize=6, fillstyle="none")
        if facts.run.chosen_on != "test" and (tested := task.tested(best)) is not None:
            axes.plot([best["epoch"]], [unit * tested], "D", color=colour(number), markersize=5)
    if len({(facts.config.preset, facts.config.published.mean) for facts in runs}) == 1 and (mean := runs[0].config.published.mean) is not None:
        axes.axhline(mean, color=INK, linewidth=0.8, linestyle="--")
    return _finished(drawing, axes, "%" if unit == 100 else "error")


def _line(axes, facts: RunFacts, values: list[float], number: int, **style) -> None:
    marker = {"marker": "o", "markersize": 2.5} if len(values) == 1 else {}
    options = {"color": colour(number), "linestyle": dash(number), "linewidth": 1.5, **marker, **style}
    axes.plot([row["epoch"] for row in facts.run.history], values, **options)


def _finished(drawing, axes, unit: str):
    label_axes(axes, "", "epoch", unit)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.grid(color="#e6e9ec", linewidth=0.6)
    return drawing
