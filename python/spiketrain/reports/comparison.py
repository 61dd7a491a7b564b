"""Runs side by side: a table in Markdown, CSV or LaTeX, and a figure of all learning curves with bands over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.methods.base.activity import LayerOperations
from spiketrain.reports.drawing import CURVES, KINDS, empty_figure, label_axes, logarithmic, save_figure
from spiketrain.reports.energy import Energy, joules
from spiketrain.reports.reproduction import tables
from spiketrain.reports.reproduction.figures import Experiment, Summary, speed_of
from spiketrain.reports.reproduction.tables import csv_table, duration, markdown_table, plain_number, shown_figure, with_spread

PICTURES = tuple(f".{kind}" for kind in KINDS)
COSTS = ("synops_per_sample", "macs_per_sample", "energy_nj", "energy_without_spikes_nj")  # columns of CSV
DASHES = ["-", "--", ":", "-."]
_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "µ": r"$\mu$",
}  # fmt: skip


def markdown(experiments: Sequence[Experiment]) -> str:
    """A row for each experiment."""
    return "\n".join(markdown_table(*_table(experiments))) + "\n"


def latex(experiments: Sequence[Experiment]) -> str:
    """The same as a ``tabular`` for the package booktabs."""
    header, rows = _table(experiments)

    def line(cells: Sequence[str]) -> str:
        return f"  {' & '.join(''.join(_ESCAPED.get(c, c) for c in cell) for cell in cells)} \\\\"

    kinds = "".join("l" if i in (0, 1) else "r" for i in range(len(header)))
    body = [line(header), r"  \midrule", *map(line, rows)]
    return "\n".join([f"\\begin{{tabular}}{{{kinds}}}", r"  \toprule", *body, r"  \bottomrule", r"\end{tabular}", ""])


def csv(experiments: Sequence[Experiment]) -> str:
    """The figures as numbers, with a row for each experiment."""
    parts = ("mean", "std", "best")
    columns = ["experiment", "measure", "seeds", "epochs", *(f"{which}_{part}" for which in ("last_epoch", "best_epoch", "published") for part in parts)]
    rows = []
    for experiment in experiments:
        row: dict[str, object] = {
            "experiment": experiment.preset,
            "measure": experiment.measure,
            "seeds": "; ".join(str(run.seed) for run in experiment.runs),
            "epochs": "; ".join(str(len(run.history)) for run in experiment.runs),
        }
        for which, summary in (("last_epoch", experiment.last), ("best_epoch", experiment.best), ("published", experiment.published)):
            row |= {f"{which}_{part}": plain_number(getattr(summary, part, None)) for part in parts}
        row |= {"seconds": round(_seconds(experiment), 1), "chosen_on": experiment.chosen_on}
        row["validation_mean"] = plain_number(_validation(experiment))
        row |= dict(zip(tables.SPEED, map(plain_number, speed_of(experiment.runs))))
        if (costs := _costs(experiment)) is not None:
            row |= dict(zip(COSTS, map(plain_number, (costs[0], costs[1], 1e9 * costs[2].spiking, 1e9 * costs[2].non_spiking))))
        rows.append(row)
    asked = COSTS if any(experiment.operations for experiment in experiments) else ()
    return csv_table([*columns, "seconds", "chosen_on", "validation_mean", *tables.SPEED, *asked], rows)


def save_curves(experiments: Sequence[Experiment], path: Path) -> None:
    """Training loss and test figure (that of the validation samples, where these choose the best epoch) over the epochs: of each experiment the mean over its seeds, in a band of a standard deviation to
    either side (n - 1), and thin lines for the seeds. The ending of `path`, one of `PICTURES`, says what is written."""
    figure = empty_figure(11, 4.6)
    loss, test = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    task = experiments[0].runs[0].task
    is_accuracy = task is CLASSIFICATION
    unit = 100 if is_accuracy else 1
    judges = dict.fromkeys(experiment.chosen_on for experiment in experiments)
    for i, experiment in enumerate(experiments):
        style = {"color": CURVES[i % len(CURVES)], "linestyle": DASHES[i // len(CURVES) % len(DASHES)]}
        judge = experiment.chosen_on
        which = f", on {judge} samples" if len(judges) > 1 else ""
        for axes, name, factor in ((loss, "train_loss", 1), (test, f"{judge}_{task.name}", unit)):
            curves = [[factor * row[name] for row in run.history] for run in experiment.runs]
            _draw(axes, curves, style, f"{experiment.preset} ({_seeds(experiment)}{which})")
    logarithmic(loss, [row["train_loss"] for experiment in experiments for run in experiment.runs for row in run.history])
    for axes in (loss, test):
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
        axes.grid(color="#e6e9ec", linewidth=0.6)
    label_axes(loss, "training loss (mean over steps)", "epoch", "loss")
    label_axes(test, f"{' or '.join(judges)} {task.name.replace('_', ' ')}: mean over seeds ± standard deviation", "epoch", "%" if is_accuracy else "error")
    figure.legend(*test.get_legend_handles_labels(), frameon=False, loc="outside lower center", fontsize=8, ncols=2 if len(experiments) > 1 else 1)
    save_figure(figure, path)


def _draw(axes, curves: list[list[float]], style: dict[str, str], label: str) -> None:
    common = min(map(len, curves))  # epochs that all seeds have
    epochs = range(1, common + 1)
    means = [statistics.fmean(curve[t] for curve in curves) for t in range(common)]
    marker = {"marker": "o", "markersize": 3} if max(map(len, curves)) <= 40 else {}
    axes.plot(epochs, means, label=label, linewidth=1.6, **style, **marker)
    if len(curves) > 1:
        spreads = [statistics.stdev(curve[t] for curve in curves) for t in range(common)]
        lower, upper = ([mean + sign * spread for mean, spread in zip(means, spreads)] for sign in (-1, 1))
        axes.fill_between(epochs, lower, upper, color=style["color"], alpha=0.18, linewidth=0)
        for curve in curves:
            axes.plot(range(1, len(curve) + 1), curve, linewidth=0.5, alpha=0.6, **style)


def _table(experiments: Sequence[Experiment]) -> tuple[list[str], list[list[str]]]:
    measure = experiments[0].measure
    header = ["experiment", "seeds", "epochs", f"last epoch: test {measure}", "best epoch", "best run", "published", "time for a run"]
    header += ["best epoch chosen on", *tables.SPEED_TITLES]
    asked = any(experiment.operations for experiment in experiments)
    header += ["SynOps per sample", "MACs", "energy, estimate", "without spikes"] if asked else []
    digits = experiments[0].digits
    rows = []
    for experiment in experiments:
        epochs = dict.fromkeys(f"{len(run.history)}" + (f" of {run.epochs}" if len(run.history) < run.epochs else "") for run in experiment.runs)
        last, best = experiment.last, experiment.best
        rows.append([
            experiment.preset, ", ".join(str(run.seed) for run in experiment.runs), ", ".join(epochs), _spread(last, digits), _spread(best, digits),
            _spread(None if best is None else Summary(best.best, None, best.best), digits), with_spread(experiment.published, digits),
            duration(_seconds(experiment)), _chosen_on(experiment, digits), *tables.speed(experiment.runs), *(_shown_costs(experiment) if asked else []),
        ])  # fmt: skip
    filled = [i for i in range(len(header)) if any(row[i] for row in rows)]  # what nothing is known of takes no room
    return [header[i] for i in filled], [[row[i] for i in filled] for row in rows]


def _costs(experiment: Experiment) -> tuple[float, float, Energy] | None:
    """SynOps, MACs and energy of a sample, means over the runs; None where they were not counted."""
    if not experiment.operations:
        return None
    parts = ("additions", "macs", "synapses")
    mean = LayerOperations("all", *(statistics.fmean(getattr(total, part) for total in experiment.operations) for part in parts))
    return mean.additions, mean.macs, Energy.of(mean)


def _shown_costs(experiment: Experiment) -> list[str]:
    if (costs := _costs(experiment)) is None:
        return [""] * 4
    return [f"{costs[0]:,.0f}", f"{costs[1]:,.0f}", joules(costs[2].spiking), joules(costs[2].non_spiking)]


def _spread(summary: Summary | None, digits: int) -> str:
    return "" if summary is None else with_spread(summary, digits)


def _validation(experiment: Experiment) -> float | None:
    """Mean over the runs of their best epochs' figures on the validation samples; None where there are none."""
    return statistics.fmean(run.validation for run in experiment.runs) if experiment.chosen_on == "validation" else None


def _chosen_on(experiment: Experiment, digits: int) -> str:
    mean = _validation(experiment)
    return experiment.chosen_on + ("" if mean is None else f" ({shown_figure(mean, digits)})")


def _seconds(experiment: Experiment) -> float:
    """Mean over the runs."""
    return statistics.fmean(run.seconds for run in experiment.runs)


def _seeds(experiment: Experiment) -> str:
    count = len(experiment.runs)
    return f"{count} seed{'s' * (count > 1)}"
