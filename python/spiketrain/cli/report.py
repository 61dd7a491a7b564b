"""The command that puts runs on one page of HTML."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from spiketrain.errors import UserError, printable, shortened

if TYPE_CHECKING:
    from spiketrain.reports.page.facts import RunFacts

OPTIONS = ("--out", "--no-measure")
_MOST = 32  # runs on a page


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = (
        "Put runs side by side on one page of HTML that needs no other file: summary, curves, configuration, firing rates, operations and energy, "
        "confusion matrix, environment."
    )
    added = command("report", report, text)
    added.add_argument("runs", metavar="RUN_DIR", nargs="+", help="run directories")
    added.add_argument("--out", metavar="FILE", help="default: report.html in the run directory, of several runs in the folder where you are")
    added.add_argument(
        "--no-measure", action="store_true", help="leave out what takes the data set and a pass over its test samples: firing rates, operations, confusion"
    )
    added.add_argument("-h", "--help", action="help", help="show this help")


def report(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.cli.commands import begin_to_compute
    from spiketrain.files import named_to_be_written, write_atomically
    from spiketrain.reports.page.page import page
    from spiketrain.training.changes import NO_PART_OF_THE_EXPERIMENT
    from spiketrain.training.run_directory import RunDirectory

    paths = [Path(os.path.expanduser(run)) for run in arguments.runs]
    if len(paths) > _MOST:
        raise UserError(f"expected at most {_MOST} runs on a page, got {len(paths)}. 'spiketrain compare' makes a table of any number")
    resolved = [RunDirectory.open(path).path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise UserError(f"{shortened(path, 120)} is given twice")
    out = Path(os.path.expanduser(arguments.out)) if arguments.out else (paths[0] if len(paths) == 1 else Path()) / "report.html"
    place = named_to_be_written(out)
    begin_to_compute(arguments)
    runs = [_facts(path, fields) for path in paths]
    if len(tasks := dict.fromkeys(facts.run.task.name for facts in runs)) > 1:
        raise UserError(f"the runs are judged by different figures, which cannot be compared: {', '.join(tasks)}")
    for facts, name in zip(runs, _names(paths)):
        facts.name = printable(name)  # matplotlib and HTML take no bytes that are no text
    if not arguments.no_measure:
        for facts in runs:
            _measure(facts, fields)
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    content = page(runs, made, (*NO_PART_OF_THE_EXPERIMENT, "seed")).encode("utf-8", "backslashreplace")
    try:
        write_atomically(place, lambda file: file.write(content))
    except OSError as error:
        raise UserError(shortened(f"cannot write the page: {error}")) from None
    print(f"wrote {printable(str(out))}")
    return 0


def _facts(path: Path, fields: list[str]) -> RunFacts:
    """What the checkpoints of a run say."""
    from spiketrain import presets
    from spiketrain.methods import load_config
    from spiketrain.reports.page.facts import RunFacts
    from spiketrain.reports.reproduction.figures import SeedRun
    from spiketrain.training import sessions
    from spiketrain.training.changes import config_to_look
    from spiketrain.training.run_directory import RunDirectory

    content = RunDirectory.open(path).load_last()
    if not content["history"]:
        raise UserError(f"no epoch of {shortened(path, 120)} is complete yet: there is nothing to show")
    config = load_config(content["config"])
    config_to_look(content, fields)  # refuses options that mean nothing here, before anything takes time
    run = SeedRun.of_history(config.seed, config.trainer.epochs, content["history"])
    model = content.get("model") or {}
    try:
        preset = load_config(presets.load(config.preset)).to_dict()
        preset["seed"] = config.seed
    except UserError:
        preset = None
    versions = {str(name): str(version) for name, version in (model.get("versions") or {}).items()}
    return RunFacts(path.name, str(path), config, preset, run, sessions.read(path / sessions.NAME), versions)


def _names(paths: list[Path]) -> list[str]:
    """As much of the end of each path as tells it from the others."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _measure(facts: RunFacts, fields: list[str]) -> None:
    """Firing rates, operations and the confusion matrix of the best epoch; where they cannot be had, a remark says why."""
    from spiketrain.cli.commands import load_best
    from spiketrain.reports.rates import measure
    from spiketrain.training.trainer import undisturbed

    print(f"spiketrain: measuring {printable(facts.name)}", file=sys.stderr)
    try:
        trainer, _, content = load_best(facts.path, fields)
        dataset = trainer.dataset
        facts.weights = sum(p.numel() for p in trainer.method.network.parameters())
        parts = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
        facts.samples = {part: len(split) for part, split in parts.items() if split is not None}
        figure = trainer.test_figures()[trainer.task.name]
        facts.confusion = trainer.confusion
        facts.class_names = list(dataset.class_names or map(str, range(dataset.classes)))
        recorded = trainer.task.tested(content["history"][-1])
        recorded = trainer.task.tested(facts.run.task.best(facts.run.history)) if recorded is None else recorded
        if recorded is not None and trainer.task.show(figure) != trainer.task.show(recorded):
            facts.remarks.append(f"tested for this page, the best epoch comes to {trainer.task.show(figure)}, as it was trained to {trainer.task.show(recorded)}")
    except UserError as error:
        facts.remarks.append(f"firing rates, operations and confusion could not be measured: {error}")
        return
    try:
        with undisturbed(trainer.method, trainer.config.seed, trainer.device):
            facts.activity = measure(trainer.method, dataset, trainer.config.trainer.batch_size)
    except UserError as error:
        facts.remarks.append(f"firing rates and operations could not be measured: {error}")
