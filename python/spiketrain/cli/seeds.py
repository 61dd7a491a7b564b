"""What the command 'reproduce' does: find what is there, run what is missing, write down what it came to after each run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spiketrain.config import Config
from spiketrain.config.raw import split_options
from spiketrain.errors import UserError, printable, shortened
from spiketrain.methods import load_config
from spiketrain.reports.reproduction import files, tables
from spiketrain.reports.reproduction.figures import COMPLETE
from spiketrain.reports.reproduction.progress import SeedProgress
from spiketrain.training.interrupt import Stopped
from spiketrain.training.lock import Lock
from spiketrain.training.reproduction import processes
from spiketrain.training.reproduction.places import Found, Places, differences
from spiketrain.training.reproduction.processes import Job
from spiketrain.training.reproduction.results import Results, with_seed

_CHECKPOINT_MINUTES = 10.0  # of runs that do not say: an epoch may take an hour
# Given fields that a run which was begun takes over: none is a part of the experiment.
_ON_THE_WAY = ("data.root", "data.download", "trainer.device", "trainer.threads", "trainer.eval_batch_size", "trainer.checkpoint_minutes")


@dataclass
class Request:
    """A preset with its seeds.

    Attributes:
        raw: its fields, before options
        source: words that name it on a command line
        fields: options that set fields
        count: how many seeds
        seeds: which; None: from its own seed on
    """

    raw: dict
    source: list[str]
    fields: list[str]
    count: int
    seeds: list[int] | None = None

    def configs(self) -> dict[int, Config]:
        """The configuration of each seed."""
        config = load_config(self.raw, self.fields)
        seeds = self.seeds or [config.seed + i for i in range(self.count)]
        return {seed: with_seed(config, seed) for seed in seeds}


def run_seeds(requests: list[Request], out: str, copy_to: str | None, parallel: int) -> int:
    """Run what is missing and return an exit status: 2 if a run failed, 130 or 143 after a signal.

    Raises:
        UserError: nothing was begun: a wrong option, a run of another experiment in the place of one, an unwritable folder.
    """
    places = Places(Path(out))
    asked = _asked(requests)
    results = Results(places, asked)
    source = {preset: request for preset, request in zip(asked, requests)}
    try:
        places.folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(places.folder)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error}") from None
    try:
        todo = _todo(results)
        config = next(iter(next(iter(asked.values())).values()))
        # Runs side by side would each take all cores.
        threads = 0 if parallel == 1 or os.environ.get("OMP_NUM_THREADS") else max(1, _cores() // parallel)
        with SeedProgress(config.trainer.progress) as progress:
            seeds = sum(map(len, asked.values()))
            shared = f", {threads} thread{'s' * (threads > 1)} each where no number is given" if threads else ""
            beside = f", {parallel} at a time{shared}" if parallel > 1 else ""
            progress.say(f"{seeds} runs in {out}, {seeds - len(todo) - len(results.failed)} complete, {len(todo)} to do{beside}")
            report = _Report(results, progress, places.folder, copy_to and Path(copy_to))
            report.write()
            jobs = {}
            for (preset, seed), found in todo.items():
                job = _job(places, source[preset], preset, seed, asked[preset][seed], found, threads)
                jobs[job] = (preset, seed)
            stopped = _run(jobs, parallel, report)
            report.write(is_last=True)
    finally:
        lock.release()
    return _end(report, stopped)


def show_table(requests: list[Request], out: str, copy_to: str | None, every: bool) -> int:
    """Print and write the results of what is there.

    Args:
        every: all seeds that are there count, not only those that are asked for

    Raises:
        UserError: there is nothing, or the tables cannot be written.
    """
    places = Places(Path(out))
    asked = _asked(requests)
    if every:
        asked = {preset: {seed: with_seed(next(iter(configs.values())), seed) for seed in places.seeds(preset)} for preset, configs in asked.items()}
        if missing := [preset for preset, configs in asked.items() if not configs]:
            raise UserError(f"there is no run of {missing[0]} in {out}")
    if not asked and not places.presets():
        raise UserError(f"there are no runs in {out}: expected folders such as {places.run('PRESET', 1)}")
    with SeedProgress("off") as progress:
        report = _Report(Results(places, asked), progress, places.folder, copy_to and Path(copy_to), only=list(asked))
        report.write(is_last=True)
    return _end(report, None)


def _asked(requests: list[Request]) -> dict[str, dict[int, Config]]:
    asked: dict[str, dict[int, Config]] = {}
    for request in requests:
        configs = request.configs()
        preset = next(iter(configs.values())).preset
        if preset in asked:
            raise UserError(f"the preset {preset} is named twice")
        asked[preset] = configs
    return asked


def _todo(results: Results) -> dict[tuple[str, int], Found | None]:
    """The runs that are not complete, each with what is there of it. Those that cannot be read have failed.

    Raises:
        UserError: in the place of one is a run of another experiment.
    """
    todo = {}
    for preset, configs in results.asked.items():
        for seed, config in configs.items():
            try:
                found = results.places.found(preset, seed)
            except UserError as error:
                results.failed[preset, seed] = str(error)
                continue
            if found is None:
                todo[preset, seed] = None
            elif other := differences(found, config):
                path = results.places.run(preset, seed)
                raise UserError(f"{path} is a run of another experiment: {other}. Ask for what it is, move it away, or choose another --out")
            elif not found.is_complete:
                todo[preset, seed] = found
    return todo


def _job(places: Places, request: Request, preset: str, seed: int, config: Config, found: Found | None, threads: int) -> Job:
    run = places.run(preset, seed)
    minutes = config.trainer.checkpoint_minutes
    if not minutes and config.trainer.pipeline == 1:
        minutes = _CHECKPOINT_MINUTES
    if not config.trainer.threads:
        config.trainer.threads = threads
    given = {name: text for name, text in split_options(request.fields) if name in _ON_THE_WAY}
    given |= {"trainer.threads": str(config.trainer.threads)} if config.trainer.threads else {}
    given |= {"trainer.checkpoint_minutes": str(minutes), "trainer.progress": "off"}
    if found is None:
        words = ["train", *request.source, *request.fields, f"--seed={seed}", f"--trainer.out={run}"]
    else:
        words = ["resume", str(run)]
    return Job(f"{preset} seed {seed}", (*words, *(f"--{name}={text}" for name, text in given.items())), places.log(preset, seed))


def _run(jobs: dict[Job, tuple[str, int]], parallel: int, report: _Report) -> Stopped | None:
    """Run the jobs. Returns what stopped them, None if nothing did."""
    report.jobs = jobs
    waiting: Iterator[Job] = iter(list(jobs))
    try:
        processes.run(waiting, parallel, report)
    except Stopped as stopped:
        return stopped
    return None


class _Report:
    """Watches the runs, shows how far they are and keeps the tables up to date."""

    def __init__(self, results: Results, progress: SeedProgress, folder: Path, copy_to: Path | None, only: list[str] = ()) -> None:
        self.results, self.progress, self.folder, self.copy_to, self.only = results, progress, folder, copy_to, only
        self.jobs: dict[Job, tuple[str, int]] = {}
        self.experiments = []
        self.written: list[Path] = []
        self._epochs: dict[Job, int] = {}
        self._is_stopping = False

    def begun(self, job: Job) -> None:
        preset, seed = self.jobs[job]
        self._epochs[job] = len(self.results.places.history_so_far(preset, seed))
        self.progress.begin(job.name, self.results.asked[preset][seed].trainer.epochs, self._epochs[job])

    def runs(self, job: Job) -> None:
        preset, seed = self.jobs[job]
        history = self.results.places.history_so_far(preset, seed)
        if len(history) > self._epochs[job]:
            self._epochs[job] = len(history)
            self.progress.update(job.name, self.results.asked[preset][seed].trainer.epochs, history)

    def ended(self, job: Job, problem: str) -> None:
        preset, seed = self.jobs[job]
        if problem:
            self.results.failed[preset, seed] = problem
        self.write()
        runs = [run for experiment in self.experiments if experiment.preset == preset for run in experiment.runs if run.seed == seed]
        if runs and runs[0].state == COMPLETE:
            run = runs[0]
            unit = " %" if run.task.name == "accuracy" else ""
            figures = f"last {run.last:.4g}{unit}, best {run.best:.4g}{unit} in epoch {run.best_epoch}"
            self.progress.end(job.name, f"complete: {figures}, {tables.duration(run.seconds)}")
        else:
            self.progress.end(job.name, f"failed: {problem}")

    def stopping(self, running: int) -> None:
        self.progress.say(f"stopping {running} run{'s' * (running != 1)}: each saves its place")

    def write(self, is_last: bool = False) -> None:
        """Write the results. What cannot be written is said, and ends no run; at the end it is an error.

        Raises:
            UserError: at the end, or before anything was begun: they cannot be written.
        """
        self.experiments = self.results.experiments()
        if self.only:
            self.experiments = [experiment for experiment in self.experiments if experiment.preset in self.only]
        try:
            self.written = files.write_tables(self.experiments, self.folder)
            self.written += self._picture(self.folder)
            if is_last and self.copy_to is not None:
                self.written += [*files.write_tables(self.experiments, self.copy_to), *self._picture(self.copy_to)]
                self.written += files.write_histories(self.experiments, self.copy_to)
        except OSError as error:
            if is_last or not self._epochs:
                raise UserError(f"cannot write the results: {error}") from None
            self.progress.say(f"the results could not be written: {error}")

    def _picture(self, folder: Path) -> list[Path]:
        try:
            return [files.write_picture(self.experiments, folder)]
        except OSError:
            raise
        except Exception as error:  # a picture is not worth the results, whatever is wrong with it
            self.progress.say(f"results.png could not be drawn: {type(error).__name__}: {shortened(error, 200)}")
            return []


def _end(report: _Report, stopped: Stopped | None) -> int:
    """Print the table, what was written, and the runs that failed. Returns the exit status."""
    say = report.progress.say
    say("")
    for line in tables.results_table(report.experiments):
        say(line)
    for experiment in report.experiments:
        for remark in tables.remarks_on(experiment):
            say(remark)
    say(f"wrote {', '.join(map(str, report.written))}")
    for (preset, seed), problem in report.results.failed.items():
        print(printable(f"spiketrain: error: {preset} seed {seed}: {problem}"), file=sys.stderr)
    if stopped is not None:
        print(f"spiketrain: interrupted. The same command goes on in {report.folder}", file=sys.stderr)
        return stopped.status
    return 2 if report.results.failed else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
