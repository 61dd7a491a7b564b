"""The command that puts runs side by side."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiketrain.errors import UserError, printable, shortened, shown
from spiketrain.files import named_to_be_written

if TYPE_CHECKING:
    from spiketrain.reports.reproduction.figures import Experiment


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = "Compare runs: a table, and a figure of their learning curves. Runs that differ in their seed alone are one experiment."
    added = command("compare", compare, text)
    added.add_argument("runs", metavar="RUN_DIR", nargs="+", help="run directories")
    kinds = added.add_mutually_exclusive_group()
    kinds.add_argument("--csv", action="store_true", help="print CSV in the place of Markdown")
    kinds.add_argument("--latex", action="store_true", help="print LaTeX (a tabular for booktabs)")
    added.add_argument("--figure", metavar="FILE", help="draw the curves, with bands over seeds: .png, .pdf or .svg")


def compare(arguments: argparse.Namespace, _: list[str]) -> int:
    from spiketrain.reports import comparison

    picture = None if arguments.figure is None else Path(os.path.expanduser(arguments.figure))
    if picture is not None and picture.suffix.lower() not in comparison.PICTURES:
        raise UserError(f"option --figure: expected a file ending in {', '.join(comparison.PICTURES)}, got {shortened(picture.name, 80)}")
    place = None if picture is None else named_to_be_written(picture)
    experiments = _experiments([Path(os.path.expanduser(run)) for run in arguments.runs])
    write = comparison.csv if arguments.csv else comparison.latex if arguments.latex else comparison.markdown
    print(write(experiments), end="")
    if place is not None:
        try:
            comparison.save_curves(experiments, place)
        except OSError as error:
            raise UserError(shortened(f"cannot write the figure: {error}")) from None
        print(f"spiketrain: wrote {printable(str(picture))}", file=sys.stderr)
    return 0


def _experiments(paths: list[Path]) -> list[Experiment]:
    """The experiments in the order of their first runs, each named by its preset and by what tells it from others of that preset."""
    from spiketrain.data import tasks
    from spiketrain.methods import load_config
    from spiketrain.reports.reproduction.figures import Experiment, SeedRun
    from spiketrain.training.changes import other_settings
    from spiketrain.training.run_directory import RunDirectory

    groups: list[tuple[dict[str, Any], Experiment]] = []
    seen: dict[Path, Path] = {}
    for path in paths:
        content = RunDirectory.open(path).load_last()
        if path.resolve() in seen:
            raise UserError(f"{shortened(path, 120)} is given twice")
        seen[path.resolve()] = path
        if not content["history"]:
            raise UserError(f"no epoch of {shortened(path, 120)} is complete yet: there is nothing to compare")
        task = tasks.of(content["history"][0])
        figure = f"{task.chosen_on(content['history'][0])}_{task.name}"
        if not all(figure in row for row in content["history"]):
            raise UserError(f"{shortened(path / 'last.ckpt', 120)} is not a checkpoint that a run has written: an epoch has no {figure}")
        config = load_config(content["config"])
        run = SeedRun.of_history(config.seed, config.trainer.epochs, content["history"])
        settings = {**config.to_dict(), "seed": 0}
        group = next((group for known, group in groups if not other_settings(known, settings)), None)
        if group is None:
            group = Experiment(config.preset, [], config.published)
            groups.append((settings, group))
        if any(other.seed == run.seed for other in group.runs):
            raise UserError(f"{shortened(path, 120)} is the same experiment as another run, with the same seed {run.seed}: name one of them")
        group.runs.append(run)
    measures = dict.fromkeys(experiment.measure for _, experiment in groups)
    if len(measures) > 1:
        raise UserError(f"the runs are judged by different figures, which cannot be compared: {', '.join(measures)}")
    for settings, experiment in groups:
        others = [known for known, other in groups if other is not experiment and known["preset"] == settings["preset"]]
        _name(settings, experiment, others, other_settings)
    return [experiment for _, experiment in groups]


def _name(settings: dict[str, Any], experiment: Experiment, others: list[dict[str, Any]], differences: Callable) -> None:
    """Say in the experiment's name in what it differs from others of the same preset."""
    names = dict.fromkeys(name for other in others for name in differences(other, settings))
    if names:
        parts = []
        for name in names:
            value: Any = settings
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            parts.append(f"{name} {shown(value)}")
        experiment.preset = f"{settings['preset']}, {shortened(', '.join(parts), 120)}"
