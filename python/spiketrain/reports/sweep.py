"""Settings side by side: sweep.md, sweep.csv with a row for each setting, sweep.png."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from spiketrain.files import write_atomically
from spiketrain.reports.drawing import CURVES, GREY, INK, empty_figure, label_axes, save_figure
from spiketrain.reports.reproduction.figures import Experiment, Summary, speed_of
from spiketrain.reports.reproduction.tables import (
    SPEED,
    SPEED_TITLES,
    csv_table,
    duration,
    markdown_table,
    plain_number,
    runs_csv,
    speed,
    with_spread,
)  # fmt: skip

_MOST_LINES = 8  # of a picture with a field along its axis
_ABOUT = """\
A row for each setting: mean ± standard deviation (n - 1) over its seeds that are complete. `rank` goes by the figure of the best epoch on the
samples that choose it. Where these are the test samples, the best of many settings looks better than it is: `--data.validation 0.1` lets
samples of the training set choose epochs and settings, and the test figure beside them has not been looked at."""


class Sweep:
    """What a sweep writes and prints of its experiments, in the order in which they were asked for.

    Args:
        fields: that are swept over
        settings: of each experiment, by its name: fields and values; of a list, not all have all fields
    """

    picture = "sweep.png"

    def __init__(self, fields: list[str], settings: dict[str, dict[str, str]]) -> None:
        self.fields, self.settings = fields, settings

    def write_tables(self, experiments: Sequence[Experiment], folder: Path) -> list[Path]:
        """sweep.md, sweep.csv, runs.csv. Returns their paths.

        Raises:
            OSError: they cannot be written.
        """
        texts = {"sweep.csv": self._csv(experiments), "runs.csv": runs_csv(experiments), "sweep.md": self._markdown(experiments)}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, lambda file, text=text: file.write(text.encode()))
        return [folder / name for name in texts]

    def write_picture(self, experiments: Sequence[Experiment], folder: Path) -> Path:
        """sweep.png."""
        _save_picture(self, experiments, folder / self.picture)
        return folder / self.picture

    def write_histories(self, experiments: Sequence[Experiment], folder: Path) -> list[Path]:
        return []

    def lines(self, experiments: Sequence[Experiment]) -> list[str]:
        """What is printed in the end."""
        ranks = self._ranks(experiments)
        has_validation = "validation" in _judges(experiments)
        rows = [self._row(experiment, ranks.get(experiment.preset), has_validation) for experiment in experiments]
        return [*markdown_table(self._header(experiments), rows), *self._remarks(experiments)]

    def values(self, experiment: Experiment) -> list[str]:
        """Its values of the fields, "" where it has the preset's own."""
        setting = self.settings[experiment.preset]
        return [setting.get(field, "") for field in self.fields]

    def _header(self, experiments: Sequence[Experiment]) -> list[str]:
        measure = next((experiment.measure for experiment in experiments if experiment.chosen_on), experiments[0].measure)
        header = [*self.fields, "rank", "seeds", *([f"best epoch: validation {measure}"] if "validation" in _judges(experiments) else [])]
        return [*header, f"best epoch: test {measure}", "last epoch: test", "best epoch", "time for a run", *SPEED_TITLES]

    def _row(self, experiment: Experiment, rank: int | None, has_validation: bool) -> list[str]:
        runs, digits = experiment.complete, experiment.digits
        begun = [run for run in experiment.runs if run.history]
        row = [*self.values(experiment), "" if rank is None else str(rank), experiment.seeds]
        if has_validation:
            row.append(_shown(experiment.validation, digits))
        row += [_shown(experiment.best, digits), _shown(experiment.last, digits)]
        row.append(", ".join(str(run.best_epoch) for run in runs))
        seconds = statistics.fmean(run.seconds for run in runs) if runs else None
        return [*row, "" if seconds is None else duration(seconds), *speed(begun)]

    def _ranks(self, experiments: Sequence[Experiment]) -> dict[str, int]:
        figures = {experiment.preset: summary.mean for experiment in experiments if (summary := experiment.judged) is not None}
        begun = next((experiment for experiment in experiments if experiment.complete), None)
        if begun is None:
            return {}
        sign = -1 if begun.measure.startswith("accuracy") else 1
        ordered = sorted(figures.values(), key=lambda figure: sign * figure)
        return {name: ordered.index(figure) + 1 for name, figure in figures.items()}

    def _remarks(self, experiments: Sequence[Experiment]) -> list[str]:
        return [f"{experiment.preset}: {note}" for experiment in experiments for note in experiment.notes]

    def _markdown(self, experiments: Sequence[Experiment]) -> str:
        return "\n".join(["# Settings side by side", "", _ABOUT, "", *self.lines(experiments), ""])

    def _csv(self, experiments: Sequence[Experiment]) -> str:
        parts = ("mean", "std", "best")
        ranks, rows = self._ranks(experiments), []
        for experiment in experiments:
            row: dict[str, object] = dict(zip(self.fields, self.values(experiment)))
            row |= {"rank": ranks.get(experiment.preset, ""), "seeds": len(experiment.complete), "seeds_asked": len(experiment.runs)}
            row |= {"measure": experiment.measure, "chosen_on": experiment.chosen_on, "folder": experiment.preset}
            for name, summary in (("validation", experiment.validation), ("best_epoch", experiment.best), ("last_epoch", experiment.last)):
                row |= {f"{name}_{part}": plain_number(getattr(summary, part, None)) for part in parts}
            runs = experiment.complete
            row["seconds"] = f"{statistics.fmean(run.seconds for run in runs):.1f}" if runs else ""
            rows.append({**row, **dict(zip(SPEED, map(plain_number, speed_of(experiment.runs))))})
        columns = ["rank", "seeds", "seeds_asked", "measure", "chosen_on"]
        columns += [f"{name}_{part}" for name in ("validation", "best_epoch", "last_epoch") for part in parts]
        return csv_table([*self.fields, *columns, "seconds", *SPEED, "folder"], rows)


def _judges(experiments: Sequence[Experiment]) -> list[str]:
    return list(dict.fromkeys(experiment.chosen_on for experiment in experiments if experiment.chosen_on))


def _shown(summary: Summary | None, digits: int) -> str:
    return "" if summary is None else with_spread(summary, digits)


def _save_picture(sweep: Sweep, experiments: Sequence[Experiment], path: Path) -> None:
    """The figures over a field of numbers, a line for each combination of the others; else a row for each setting."""
    shown = [(experiment, summary) for experiment in experiments if (summary := experiment.judged) is not None]
    place = _axis(sweep, [experiment for experiment, _ in shown])
    judged = " or ".join(_judges(experiments)) or "test"
    title = f"best epoch, {judged} samples: mean over seeds ± standard deviation"
    if place is None:
        figure = empty_figure(8.5, 1.4 + 0.34 * max(len(shown), 1))
        _draw_rows(figure.add_subplot(), sweep, shown)
    else:
        figure = empty_figure(7.5, 4.6)
        _draw_lines(figure, figure.add_subplot(), sweep, shown, place)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    if not shown:
        figure.text(0.5, 0.4, "no run is complete yet", ha="center", color=GREY)
    save_figure(figure, path)


def _axis(sweep: Sweep, experiments: Sequence[Experiment]) -> int | None:
    """Which field of numbers lies along the axis: the one with the most values; None where the others would make too many lines."""
    best, most = None, 2
    for place in range(len(sweep.fields)):
        values = [sweep.values(experiment) for experiment in experiments]
        own = {row[place] for row in values}
        others = {(*row[:place], *row[place + 1 :]) for row in values}
        if len(own) > most and all(map(_is_number, own)) and len(others) <= _MOST_LINES:
            best, most = place, len(own)
    return best


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < 1e300
    except ValueError:
        return False


def _draw_lines(figure, axes, sweep: Sweep, shown: list[tuple[Experiment, Summary]], place: int) -> None:
    lines: dict[tuple[str, ...], list[tuple[float, Summary, Experiment]]] = {}
    for experiment, summary in shown:
        values = sweep.values(experiment)
        lines.setdefault((*values[:place], *values[place + 1 :]), []).append((float(values[place]), summary, experiment))
    others = [*sweep.fields[:place], *sweep.fields[place + 1 :]]
    for number, (values, points) in enumerate(lines.items()):
        points.sort(key=lambda point: point[0])
        label = ", ".join(f"{name.rpartition('.')[2]} {value or 'as in the preset'}" for name, value in zip(others, values))
        means, spreads = [summary.mean for _, summary, _ in points], [summary.std or 0.0 for _, summary, _ in points]
        style = {"color": CURVES[number % len(CURVES)], "marker": "o", "markersize": 4, "capsize": 3}
        axes.errorbar([x for x, _, _ in points], means, yerr=spreads, label=label.replace("$", r"\$"), **style)
    positions = sorted({x for points in lines.values() for x, _, _ in points})
    if positions[0] > 0 and positions[-1] >= 10 * positions[0]:
        axes.set_xscale("log")
    label_axes(axes, "", sweep.fields[place], shown[0][0].measure)
    axes.grid(color="#e6e9ec", linewidth=0.6)
    if others:
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", fontsize=8, ncols=2)


def _draw_rows(axes, sweep: Sweep, shown: list[tuple[Experiment, Summary]]) -> None:
    labels = []
    for height, (experiment, summary) in enumerate(shown):
        figures = [run.judged for run in experiment.complete]
        axes.scatter(figures, [height] * len(figures), s=14, color=GREY, linewidths=0, zorder=2)
        axes.errorbar(summary.mean, height, xerr=summary.std, fmt="o", markersize=5, capsize=3, color=CURVES[0], zorder=3)
        pairs = zip(sweep.fields, sweep.values(experiment))
        text = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in pairs if value) or "the preset as it is"
        labels.append((text if len(text) <= 60 else f"{text[:57]}...").replace("$", r"\$"))
    axes.set_yticks(range(len(labels)), labels=labels)
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.grid(axis="x", color="#e6e9ec", linewidth=0.6)
    label_axes(axes, "", shown[0][0].measure if shown else "", "")
