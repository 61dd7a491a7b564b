"""The tables of several seeds: results.md to read, results.csv with a row for each preset, runs.csv with a row for each seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from spiketrain.config import Published
from spiketrain.reports.reproduction.figures import COMPLETE, FAR, Experiment, SeedRun, Summary, speed_of

ORIGIN = ("threads", "machine", "torch", "spikeops", "commit")
_SUMMARY = ("mean", "std", "best")
_RESULTS = [
    "preset", "measure", "seeds", "seeds_asked", "epochs", *(f"last_epoch_{part}" for part in _SUMMARY),
    *(f"best_epoch_{part}" for part in _SUMMARY), *(f"published_{part}" for part in _SUMMARY), "last_epoch_against_published",
    "best_epoch_against_published", "settings", "departs", "notes", "chosen_on",
]  # fmt: skip
SPEED = ("train_samples_per_second", "test_samples_per_second", "peak_memory_mb")
_RUNS = ["preset", "seed", "state", "last", "best", "best_epoch", "epochs", "epochs_asked", "seconds", *ORIGIN, "chosen_on", "validation", *SPEED]
SPEED_TITLES = ["samples/s, training", "testing", "peak memory"]
_ABOUT = f"""\
Figures on the test samples, from the runs that are complete: of their last epoch, and of the best epoch of each, which is chosen by these
very samples, unless a line below says that validation samples choose it: then no other epoch is tested. std is the standard deviation of the sample (n - 1 in the denominator; none for one seed). Against the published mean:
`reached`, within {FAR:g} published standard deviations of it, or `SHORT` of it by more."""


def results_csv(experiments: Sequence[Experiment]) -> str:
    """A row for each preset."""
    rows = []
    for experiment in experiments:
        published = experiment.published
        row = {
            "preset": experiment.preset,
            "measure": experiment.measure,
            "seeds": len(experiment.complete),
            "seeds_asked": len(experiment.runs),
            "epochs": _epochs(experiment),
            "last_epoch_against_published": experiment.verdict(experiment.last),
            "best_epoch_against_published": experiment.verdict(experiment.best),
            "settings": "; ".join(experiment.settings),
            "departs": "; ".join(experiment.departs),
            "notes": "; ".join(experiment.notes),
            "chosen_on": experiment.chosen_on,
        }
        for name, summary in (("last_epoch", experiment.last), ("best_epoch", experiment.best), ("published", published)):
            row |= {f"{name}_{part}": _number(getattr(summary, part, None)) for part in _SUMMARY}
        rows.append(row)
    return csv_table(_RESULTS, rows)


def runs_csv(experiments: Sequence[Experiment]) -> str:
    """A row for each seed, with what it ran on. Of one that is not complete, the figures are those so far."""
    return csv_table(_RUNS, [{"preset": experiment.preset, **_run(run)} for experiment in experiments for run in experiment.runs])


def history_csv(run: SeedRun) -> str:
    """A row for each epoch of one run, with the columns that all methods have."""
    parts = dict.fromkeys(("train", run.chosen_on, "test"))
    columns = ["epoch", "train_loss", *(f"{part}_{run.task.name}" for part in parts), "learning_rate", *(f"{part}_seconds" for part in parts)]
    return csv_table(columns, [{name: row.get(name, "") for name in columns} for row in run.history])


def markdown(experiments: Sequence[Experiment]) -> str:
    """results.md."""
    lines = ["# Seeds beside the published figures", "", _ABOUT, "", *results_table(experiments), ""]
    if remarks := [remark for experiment in experiments for remark in remarks_on(experiment)]:
        lines += [*(f"- {_cell(remark)}" for remark in remarks), ""]
    lines += ["## Runs", "", *_runs_table(experiments), ""]
    return "\n".join(lines)


def results_table(experiments: Sequence[Experiment]) -> list[str]:
    """The papers' columns, a row for each preset, in Markdown that reads well as it is."""
    header = ["preset", "seeds"]
    header += [f"{name}: {part}" for name in ("last epoch", "best epoch", "published") for part in ("mean ± std", "best")]
    header += ["best epoch against published", "last epoch against published"]
    rows = []
    for experiment in experiments:
        digits = experiment.digits
        row = [experiment.preset if digits == 2 else f"{experiment.preset} ({experiment.measure})", experiment.seeds]
        for summary in (experiment.last, experiment.best, experiment.published):
            row += [with_spread(summary, digits), shown_figure(summary.best, digits)] if summary is not None else ["", ""]
        rows.append([*row, experiment.verdict(experiment.best), experiment.verdict(experiment.last)])
    return markdown_table(header, rows)


def remarks_on(experiment: Experiment) -> list[str]:
    """What has to be said beside an experiment's row."""
    remarks = []
    if experiment.settings:
        remarks.append(f"{experiment.preset}: trained with {', '.join(experiment.settings)}: not the preset's experiment")
    if experiment.departs:
        remarks.append(f"{experiment.preset}: the published experiment differs in {'; '.join(experiment.departs)}")
    if experiment.chosen_on == "validation":
        summary = experiment.validation
        mean = "" if summary is None else f", on which its mean is {with_spread(summary, experiment.digits)}"
        remarks.append(f"{experiment.preset}: the best epoch is chosen on validation samples{mean}; it alone is tested")
    return [*remarks, *(f"{experiment.preset}: {note}" for note in experiment.notes)]


def outcome(run: SeedRun) -> str:
    """The figures of a run in words."""
    best = run.task.best(run.history)
    if run.chosen_on == "test":
        return f"last {run.task.show(run.task.tested(run.history[-1]))}, best {run.task.show(run.task.tested(best))} in epoch {run.best_epoch}"
    tested = f", test {run.task.show(run.task.tested(best))}" if run.best is not None else ", not tested yet"
    return f"best validation {run.task.show(run.task.judged(best))} in epoch {run.best_epoch}{tested}"


def duration(seconds: float) -> str:
    """``3 h 05 min``, ``12 min``, ``8 s``."""
    if seconds >= 3600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


def _runs_table(experiments: Sequence[Experiment]) -> list[str]:
    header = ["preset", "seed", "last", "best", "best epoch", "epochs", "time", *ORIGIN, *SPEED_TITLES]
    rows = []
    for experiment in experiments:
        digits = experiment.digits
        for run in experiment.runs:
            figures = [shown_figure(run.last, digits), shown_figure(run.best, digits), str(run.best_epoch)] if run.history else ["", "", ""]
            epochs = str(len(run.history)) if run.state == COMPLETE else f"{len(run.history)} of {run.epochs}: {run.state}"
            origin = [run.origin.get(name, "") for name in ORIGIN]
            time = duration(run.seconds) if run.history else ""
            rows.append([experiment.preset, str(run.seed), *figures, epochs, time, *origin, *speed([run])])
    return markdown_table(header, rows)


def _run(run: SeedRun) -> dict[str, object]:
    row = {"seed": run.seed, "state": run.state, "epochs": len(run.history), "epochs_asked": run.epochs, **run.origin}
    if run.history:
        row |= {"last": _number(run.last), "best": _number(run.best), "best_epoch": run.best_epoch, "seconds": f"{run.seconds:.1f}"}
        row |= {"chosen_on": run.chosen_on, "validation": _number(run.validation)}
        row |= {name: _number(value) for name, value in zip(SPEED, speed_of([run]))}
    return row


def speed(runs: Sequence[SeedRun]) -> list[str]:
    """The columns `SPEED_TITLES`: means over the runs, and the most memory that one took."""
    training, testing, peak = speed_of(runs)
    return [*("" if mean is None else f"{mean:,.0f}" for mean in (training, testing)), "" if peak is None else f"{peak:,.0f} MB"]


def _epochs(experiment: Experiment) -> str:
    return "; ".join(dict.fromkeys(str(run.epochs) for run in experiment.runs))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def plain_number(value: float | None) -> str:
    """Six decimals and no zeros behind them; "" for None."""
    return "" if value is None else shown_figure(value, 6).rstrip("0").rstrip(".")


def shown_figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def with_spread(summary: Summary | Published, digits: int) -> str:
    mean, std = shown_figure(summary.mean, digits), shown_figure(summary.std, digits)
    return f"{mean} ± {std}" if std else mean


def csv_table(columns: list[str], rows: list[dict[str, object]]) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    rows = [header, *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths))} |"

    return [line(rows[0]), f"|{'|'.join('-' * (width + 2) for width in widths)}|", *map(line, rows[1:])]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
