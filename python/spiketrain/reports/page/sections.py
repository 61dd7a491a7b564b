"""The sections of the page, each a piece of HTML."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

import torch
import yaml

import spikeops
from spiketrain.config import Published
from spiketrain.errors import shown
from spiketrain.methods.base.activity import Activity
from spiketrain.reports.confusion import draw_confusion
from spiketrain.reports.energy import SOURCE, Energy, joules
from spiketrain.reports.page import charts
from spiketrain.reports.page.facts import NOWHERE, RunFacts, differing_fields
from spiketrain.reports.page.markup import Markup, bar, figure, table, text
from spiketrain.reports.reproduction.figures import speed_of
from spiketrain.reports.reproduction.tables import duration, outcome, with_spread
from spiketrain.reports.tables import shown_rate

SESSION_TITLES = {"started": "started (UTC)", "epoch": "after epoch", "steps": "and steps"}


def headline(runs: Sequence[RunFacts]) -> str:
    """What came out, in a line for each run."""
    lines = [f"<li>{_swatch(number, facts)} {text(_outcome(facts))}</li>" for number, facts in enumerate(runs)]
    return f'<ul class="headline">{"".join(lines)}</ul>'


def summary(runs: Sequence[RunFacts]) -> str:
    """The table of all runs side by side."""
    rows: list[list[object]] = []

    def row(name: str, values: Sequence[object]) -> None:
        if any(value not in ("", None) for value in values):
            rows.append([name, *("" if value is None else value for value in values)])

    row("method", [facts.config.method.name for facts in runs])
    row("network", [facts.config.network.model or facts.config.network.layers for facts in runs])
    row("weights", [None if facts.weights is None else f"{facts.weights:,}" for facts in runs])
    row("data set", [_data(facts) for facts in runs])
    row("time steps", [facts.config.network.time_steps for facts in runs])
    row("seed", [facts.config.seed for facts in runs])
    row("epochs", [_epochs(facts) for facts in runs])
    measure = runs[0].run.task.name.replace("_", " ")
    row(f"best epoch: test {measure}", [_figure(facts, facts.run.task.tested(facts.run.task.best(facts.run.history))) for facts in runs])
    row(f"best epoch: validation {measure}", [_validation(facts) for facts in runs])
    row("best epoch", [facts.run.best_epoch for facts in runs])
    row("chosen on", [f"{facts.run.chosen_on} samples" for facts in runs])
    row(f"last epoch: test {measure}", [_last(facts) for facts in runs])
    row("published", [_published(facts.config.published) for facts in runs])
    speeds = [speed_of([facts.run]) for facts in runs]
    row("time, training and testing", [duration(facts.run.seconds) for facts in runs])
    for name, place in (("samples/s, training", 0), ("samples/s, testing", 1)):
        row(name, [None if speed[place] is None else f"{speed[place]:,.0f}" for speed in speeds])
    row("peak memory of a process", [None if speed[2] is None else f"{speed[2]:,.0f} MB" for speed in speeds])
    totals = [facts.activity.totals() if facts.activity is not None else None for facts in runs]
    row("firing rate, all neurons", [None if facts.activity is None else shown_rate(_mean_rate(facts.activity)) for facts in runs])
    row("SynOps per sample", [None if total is None else f"{total.additions:,.0f}" for total in totals])
    row("MACs per sample", [None if total is None else f"{total.macs:,.0f}" for total in totals])
    row("the same without spikes: MACs", [None if total is None else f"{total.synapses:,.0f}" for total in totals])
    energies = [None if total is None else Energy.of(total) for total in totals]
    row("energy per sample, estimate", [None if energy is None else joules(energy.spiking) for energy in energies])
    row("the same without spikes", [None if energy is None else joules(energy.non_spiking) for energy in energies])
    remarks = "".join(f"<p class='remark'>{text(facts.name)}: {text(remark)}</p>" for facts in runs for remark in facts.remarks)
    return table(["", *(_swatch(number, facts) for number, facts in enumerate(runs))], rows, kind="sides") + remarks


def curves(runs: Sequence[RunFacts]) -> str:
    """Loss and accuracy over the epochs."""
    task = runs[0].run.task
    judges = " or ".join(dict.fromkeys(facts.run.chosen_on for facts in runs))
    note = f"on {judges} samples; thin: in training, while the weights still change; circles: the best epochs"
    if "validation" in judges:
        note += "; diamonds: test samples, in those epochs"
    if len({facts.config.published.mean for facts in runs}) == 1 and runs[0].config.published.mean is not None:
        note += "; dashed: published mean" + (" (other settings)" if any(facts.config.departs or _changed(facts) for facts in runs) else "")
    legend = "".join(f"<li>{_swatch(number, facts)}</li>" for number, facts in enumerate(runs))
    drawn = figure(charts.losses(runs), "Training loss", "mean over the steps of each epoch")
    drawn += figure(charts.figures(runs), task.name.replace("_", " ").capitalize(), note)
    return f'<ul class="legend">{legend}</ul><div class="grid">{drawn}</div>'


def configuration(runs: Sequence[RunFacts], ignored: Sequence[str]) -> str:
    """What differs from the presets and between the runs, and all of it, folded."""
    differing = differing_fields(runs, ignored)
    count = len(runs)
    if differing:
        presets = {facts.config.preset for facts in runs}
        rows = []
        for name, values in differing.items():
            plain = list(dict.fromkeys(map(_value, values[:count]))) if len(presets) == 1 else ["; ".join(dict.fromkeys(map(_value, values[:count])))]
            rows.append([name, "; ".join(plain), *(_marked(value, before) for value, before in zip(values[count:], values[:count]))])
        title = f"preset {next(iter(presets))}" if len(presets) == 1 else "presets"
        shown_ = table(["field", title, *(_swatch(number, facts) for number, facts in enumerate(runs))], rows, kind="fields")
    else:
        shown_ = f"<p>{'All settings are' if count == 1 else 'All settings of all runs are'} those of the preset.</p>"
    missing = [facts.name for facts in runs if facts.preset is None]
    if missing:
        shown_ += f"<p class='remark'>There is no preset of the name any more, or here, to compare with: {text(', '.join(missing))}.</p>"
    departs = dict.fromkeys((facts.config.preset, departure) for facts in runs for departure in facts.config.departs)
    if departs:
        items = "".join(f"<li>{text(preset)}: {text(departure)}</li>" for preset, departure in departs)
        shown_ += f"<p>In these the preset departs from the published experiment:</p><ul>{items}</ul>"
    whole = "".join(
        f"<details><summary>All fields of {text(facts.name)}</summary><pre>"
        f"{text_lines(yaml.safe_dump(facts.config.to_dict(), sort_keys=False, allow_unicode=True))}</pre></details>"
        for facts in runs
    )
    return shown_ + whole


def text_lines(lines: str) -> str:
    return "\n".join(text(line) for line in lines.splitlines())


def activities(runs: Sequence[RunFacts]) -> str:
    """Firing rates, operations and energy of each run."""
    parts = []
    for number, facts in enumerate(runs):
        if facts.activity is not None:
            parts.append(f"<section>{_heading(number, facts, runs)}{_activity(facts.activity, charts.colour(number))}</section>")
    if not parts:
        return ""
    explained = (
        "A SynOp is a weight added because of a spike; a MAC is a multiply-accumulate, of inputs that are no spikes. The network without "
        f"spikes has the same layers, and a MAC for each synapse. Energy is an estimate: {SOURCE}. Neurons, memory and communication, which in "
        "hardware mostly cost more, are not in it."
    )
    return f'<div class="grid tables">{"".join(parts)}</div><p class="remark">{text(explained)}</p>'


def _activity(activity: Activity, colour: str) -> str:
    highest = max((layer.forward_rate for layer in activity.layers), default=0.0) or 1.0
    has_backward = activity.backward_time_steps > 0
    header = ["layer", "neurons", "firing rate", *(["backward rate"] if has_backward else [])]
    rows = []
    for layer in activity.layers:
        cells: list[object] = [layer.name, f"{layer.neurons:,}", bar(layer.forward_rate / highest, shown_rate(layer.forward_rate), colour)]
        rows.append([*cells, *([shown_rate(layer.backward_rate)] if has_backward else [])])
    steps = f"spikes per neuron and step, {activity.time_steps} time steps" + (f", {activity.backward_time_steps} backward" if has_backward else "")
    shown_ = table(header, rows, kind="rates", caption=steps)
    totals = activity.totals()
    if totals is None:
        reason = activity.uncounted or "the synapses of this network are not known layer by layer"
        return shown_ + f"<p class='remark'>{text(f'Operations are not counted, since {reason}.')}</p>"
    operations = [*_operations(activity), ["all", f"{totals.additions:,.0f}", f"{totals.macs:,.0f}", f"{totals.synapses:,.0f}"]]
    shown_ += table(["per sample", "SynOps", "MACs", "MACs without spikes"], operations, kind="operations")
    energy = Energy.of(totals)
    largest = max(energy.spiking, energy.non_spiking) or 1.0
    rows = [
        ["as it is", bar(energy.spiking / largest, joules(energy.spiking), colour)],
        ["without spikes", bar(energy.non_spiking / largest, joules(energy.non_spiking), "#9aa5b1")],
    ]
    return shown_ + table(["network", "energy per sample, estimate"], rows, kind="rates")


def _operations(activity: Activity) -> list[list[str]]:
    """By layers of weights where those were counted, else by where the operations come from."""
    if not activity.is_counted:
        return [[layer.name, *(f"{n:,.0f}" for n in (layer.additions, layer.macs, layer.synapses))] for layer in activity.operations or []]
    is_image = activity.input_rate is None
    first = f"{activity.input_operations():,.0f}"
    rows = [["from the input", "" if is_image else first, first if is_image else "", f"{activity.input_non_spiking:,}"]]
    rows += [[f"from {layer.name}", f"{activity.forward_operations(layer):,.0f}", "", f"{layer.non_spiking:,}"] for layer in activity.layers]
    if activity.readout_synapses:
        rows.append(["classifier of rates", "", f"{activity.readout_synapses:,}", f"{activity.readout_synapses:,}"])
    return rows


def confusions(runs: Sequence[RunFacts]) -> str:
    """The confusion matrices."""
    parts = []
    for facts in runs:
        if facts.confusion is not None:
            title = f"Confusion of {facts.name}" if len(runs) > 1 else "Confusion of the test samples"
            note = f"epoch {facts.run.best_epoch}; colours are shares of each row, by their root, so that a few per cent are seen; numbers are samples"
            parts.append(figure(draw_confusion(facts.confusion, facts.class_names, compact=True), title, note))
    return f'<div class="grid">{"".join(parts)}</div>' if parts else ""


def environment(runs: Sequence[RunFacts], made: str) -> str:
    """What the runs were trained on, and what made the page."""
    names = list(dict.fromkeys(name for facts in runs for session in facts.sessions for name in session))
    rows = [[facts.name, facts.config.seed, *(session.get(name, "") for name in names)] for facts in runs for session in facts.sessions]
    shown_ = table(["run", "seed", *(SESSION_TITLES.get(name, name) for name in names)], rows, kind="sessions") if rows else ""
    unknown = [facts.name for facts in runs if not facts.sessions]
    if unknown:
        shown_ += f"<p class='remark'>Nothing was written down of what these were trained on: {text(', '.join(unknown))}.</p>"
    rows = [[facts.name, ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or "not known", facts.path] for facts in runs]
    shown_ += table(["run", "checkpoint written by", "run directory"], rows, kind="sessions")
    here = f"spikeops {spikeops.__version__}, torch {torch.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{shown_}<p>{text(f'This page was made {made} with {here}.')}</p>"


def _outcome(facts: RunFacts) -> str:
    return f"{facts.config.preset}, seed {facts.config.seed}: {outcome(facts.run)}"


def _swatch(number: int, facts: RunFacts) -> Markup:
    style = "solid" if charts.dash(number) == "-" else "dashed"
    return Markup(f'<span class="run" style="--c:{charts.colour(number)};--s:{style}">{text(facts.name)}</span>')


def _heading(number: int, facts: RunFacts, runs: Sequence[RunFacts]) -> str:
    return f"<h3>{_swatch(number, facts)}</h3>" if len(runs) > 1 else ""


def _data(facts: RunFacts) -> str:
    counts = ", ".join(f"{count:,} {part}" for part, count in facts.samples.items())
    return facts.config.data.name + (f" ({counts})" if counts else "")


def _epochs(facts: RunFacts) -> str:
    done, asked = len(facts.run.history), facts.run.epochs
    return str(done) if done >= asked else f"{done} of {asked}"


def _figure(facts: RunFacts, value: float | None) -> str | None:
    return None if value is None else facts.run.task.show(value)


def _last(facts: RunFacts) -> str | None:
    return None if facts.run.last is None else facts.run.task.show(facts.run.task.tested(facts.run.history[-1]))


def _validation(facts: RunFacts) -> str | None:
    task = facts.run.task
    return task.show(task.judged(task.best(facts.run.history))) if facts.run.chosen_on == "validation" else None


def _published(published: Published) -> str | None:
    parts = [f"{with_spread(published, 2)} % mean"] if published.mean is not None else []
    parts += [f"{published.best:.2f} % best"] if published.best is not None else []
    return ", ".join(parts) or None


def _mean_rate(activity: Activity) -> float:
    return sum(layer.forward_rate * layer.neurons for layer in activity.layers) / sum(layer.neurons for layer in activity.layers)


def _changed(facts: RunFacts) -> bool:
    return facts.preset is None or bool(differing_fields([facts], ("trainer.out", "trainer.progress", "seed")))


def _value(value: Any) -> str:
    return "-" if value is NOWHERE else shown(value)


def _marked(value: Any, before: Any) -> object:
    return Markup(f"<mark>{text(_value(value))}</mark>") if value != before else _value(value)
