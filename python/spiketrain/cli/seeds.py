"""What the commands 'reproduce' and 'sweep' do: find what is there, run what is missing, write down what it came to after each run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiketrain import plugins
from spiketrain.config import Config
from spiketrain.config.raw import split_options
from spiketrain.errors import UserError, printable, shortened
from spiketrain.methods import load_config
from spiketrain.reports.reproduction import files, tables
from spiketrain.reports.reproduction.figures import Experiment
from spiketrain.reports.reproduction.kept import read_kept
from spiketrain.reports.reproduction.progress import SeedProgress
from spiketrain.reports.sweep import Sweep
from spiketrain.training.interrupt import Stopped
from spiketrain.training.lock import Lock
from spiketrain.training.reproduction import processes
from spiketrain.training.reproduction.places import Found, Places, differences
from spiketrain.training.reproduction.processes import Job
from spiketrain.training.reproduction.results import Results, with_seed

_CHECKPOINT_MINUTES = 10.0  # of runs that do not say: an epoch may take an hour
# Given fields that a run which was begun takes over: none is a part of the experiment.
_ON_THE_WAY = (
    "data.root", "data.download", "trainer.device", "trainer.threads", "trainer.cuda_graphs", "trainer.eval_batch_size", "trainer.checkpoint_minutes",
    "trainer.pipeline",
)  # fmt: skip


@dataclass
class Request:
    """A preset with its seeds.

    Attributes:
        raw: its fields, before options
        source: words that name it on a command line
        fields: options that set fields
        count: how many seeds
        seeds: which; None: from its own seed on
        name: of the experiment, and of its folder; "": the preset's
    """

    raw: dict
    source: list[str]
    fields: list[str]
    count: int
    seeds: list[int] | None = None
    name: str = ""

    @property
    def has_options(self) -> bool:
        """Whether it is more than the name of a preset."""
        return bool(self.fields) or "--config" in self.source

    def configs(self) -> dict[int, Config]:
        """The configuration of each seed."""
        config = load_config(self.raw, self.fields)
        seeds = self.seeds or [config.seed + i for i in range(self.count)]
        return {seed: with_seed(config, seed) for seed in seeds}


class Reproduction:
    """What is written and printed of experiments beside the published figures."""

    picture = "results.png"

    def write_tables(self, experiments: list[Experiment], folder: Path) -> list[Path]:
        return files.write_tables(experiments, folder)

    def write_picture(self, experiments: list[Experiment], folder: Path) -> Path:
        return files.write_picture(experiments, folder)

    def write_histories(self, experiments: list[Experiment], folder: Path) -> list[Path]:
        return files.write_histories(experiments, folder)

    def lines(self, experiments: list[Experiment]) -> list[str]:
        return [*tables.results_table(experiments), *(remark for experiment in experiments for remark in tables.remarks_on(experiment))]


def run_seeds(
    requests: list[Request], out: str, copy_to: str | None, parallel: int, form: Reproduction | Sweep | None = None, kept: Sequence[str] = ()
) -> int:
    """Run what is missing and return an exit status: 2 if a run failed, 130 or 143 after a signal.

    Args:
        kept: folders with tables of other runs, which count as well

    Raises:
        UserError: nothing was begun: a wrong option, a run of another experiment in the place of one, an unwritable folder.
    """
    places = Places(Path(out))
    asked = _asked(requests)
    results = Results(places, asked, read_kept(kept))
    request_of = dict(zip(asked, requests))
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
            count = sum(map(len, asked.values()))
            beside = f", {parallel} at a time" if parallel > 1 else ""
            beside += f", {threads} thread{'s' * (threads > 1)} each where no number is given" if threads else ""
            progress.say(f"{count} runs in {out}, {count - len(todo) - len(results.failed)} complete, {len(todo)} to do{beside}")
            report = _Report(results, progress, places.folder, copy_to and Path(copy_to), form, only=list(asked) if form else ())
            report.write()
            jobs = {}
            for (preset, seed), found in todo.items():
                job = _job(places, request_of[preset], preset, seed, asked[preset][seed], found, threads)
                jobs[job] = (preset, seed)
            stopped = _run(jobs, parallel, report)
            report.write_last()
    finally:
        lock.release()
    return _end(report, stopped)


def show_table(
    requests: list[Request], out: str, copy_to: str | None, every: bool, form: Reproduction | Sweep | None = None, kept: Sequence[str] = ()
) -> int:
    """Print and write the results of what is there.

    Args:
        every: all seeds that are there count, not only those that are asked for
        kept: folders with tables of other runs, which count as well

    Raises:
        UserError: there is nothing, or the tables cannot be written.
    """
    places = Places(Path(out))
    asked, elsewhere = _asked(requests), read_kept(kept)
    if every:
        for (preset, configs), request in zip(asked.items(), requests):
            if not (seeds := places.seeds(preset)) and preset not in elsewhere:
                raise UserError(f"there is no run of {preset} in {out}")
            model = next(iter(configs.values()))
            # Without options the runs say themselves what they are.
            asked[preset] = {seed: with_seed(model, seed) for seed in seeds} if request.has_options else {}
    if not asked and not places.presets() and not elsewhere:
        raise UserError(f"there are no runs in {out}: expected folders such as {places.run('PRESET', 1)}")
    with SeedProgress("off") as progress:
        report = _Report(Results(places, asked, elsewhere), progress, places.folder, copy_to and Path(copy_to), form, only=list(asked))
        report.write_last()
    return _end(report, None)


def _asked(requests: list[Request]) -> dict[str, dict[int, Config]]:
    asked: dict[str, dict[int, Config]] = {}
    for request in requests:
        configs = request.configs()
        preset = request.name or next(iter(configs.values())).preset
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
            if (found is None or not found.is_complete) and results.is_kept(preset, seed, config):
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
    given = {name: text for name, text in split_options(request.fields) if name in _ON_THE_WAY}
    if threads and not config.trainer.threads:
        given["trainer.threads"] = str(threads)
    keeps_its_own = "trainer.pipeline" not in given and found is not None
    pipeline = found.config["trainer"]["pipeline"] if keeps_its_own else config.trainer.pipeline
    if not config.trainer.checkpoint_minutes and pipeline == 1:  # a pipeline has no place within an epoch
        given.setdefault("trainer.checkpoint_minutes", str(_CHECKPOINT_MINUTES))
    run = places.run(preset, seed)
    if found is None:
        words = ["train", *request.source, *request.fields, f"--seed={seed}", f"--trainer.out={run}"]
    else:
        words = ["resume", str(run)]
    given["trainer.progress"] = "off"
    words += [f"--plugin={module}" for module in plugins.allowed_modules()]
    return Job(f"{preset} seed {seed}", (*words, *(f"--{name}={text}" for name, text in given.items())), places.log(preset, seed))


def _run(jobs: dict[Job, tuple[str, int]], parallel: int, report: _Report) -> Stopped | None:
    """Run the jobs. Returns what stopped them, None if nothing did."""
    report.jobs = jobs
    try:
        processes.run(iter(jobs), parallel, report)
    except Stopped as stopped:
        return stopped
    return None


class _Report:
    """Watches the runs, shows how far they are and keeps the tables up to date."""

    def __init__(
        self, results: Results, progress: SeedProgress, folder: Path, copy_to: Path | None, form: Reproduction | Sweep | None, only: Sequence[str] = ()
    ) -> None:
        self.form = form or Reproduction()
        self.results, self.progress, self.folder, self.copy_to, self.only = results, progress, folder, copy_to, only
        self.jobs: dict[Job, tuple[str, int]] = {}
        self.experiments: list[Experiment] = []
        self.written: list[Path] = []
        self.problem = ""
        self._epochs: dict[Job, int] = {}

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
        try:
            self.write()
        except UserError as error:  # which ends no run
            self.progress.say(str(error))
        run = next((run for at in self.experiments if at.preset == preset for run in at.complete if run.seed == seed), None)
        if run is None:
            problem = self.results.failed.setdefault((preset, seed), "it has ended, but is not complete, or not what was asked for")
        if problem:
            self.progress.end(job.name, f"failed: {problem}")
            return
        self.progress.end(job.name, f"complete: {tables.outcome(run)}, {tables.duration(run.seconds)}")

    def stopping(self, running: int) -> None:
        self.progress.say(f"stopping {running} run{'s' * (running != 1)}: each saves its place")

    def write(self) -> None:
        """Write the results, as far as there are any.

        Raises:
            UserError: they cannot be written.
        """
        self._look()
        self._write(lambda: [*self.form.write_tables(self.experiments, self.folder), *self._picture(self.folder)])

    def write_last(self) -> None:
        """Write the results, and those to keep. What cannot be written is kept as the problem of the whole."""
        self._look()

        def write() -> list[Path]:
            written = [*self.form.write_tables(self.experiments, self.folder), *self._picture(self.folder)]
            if self.copy_to is not None:
                self.form.write_tables(self.experiments, self.copy_to)
                self._picture(self.copy_to)
                self.form.write_histories(self.experiments, self.copy_to)
            return written

        try:
            self._write(write)
        except UserError as error:
            self.problem = str(error)

    def _look(self) -> None:
        self.experiments = self.results.experiments()
        if self.only:
            self.experiments = [experiment for experiment in self.experiments if experiment.preset in self.only]

    def _write(self, write: Callable[[], list[Path]]) -> None:
        try:
            self.written = write()
        except OSError as error:
            raise UserError(f"cannot write the results: {error}") from None

    def _picture(self, folder: Path) -> list[Path]:
        try:
            return [self.form.write_picture(self.experiments, folder)]
        except OSError:
            raise
        except Exception as error:  # a picture is not worth the results, whatever is wrong with it
            self.progress.say(f"{self.form.picture} could not be drawn: {type(error).__name__}: {shortened(error, 200)}")
            return []


def _end(report: _Report, stopped: Stopped | None) -> int:
    """Print the table, what was written, and the runs that failed. Returns the exit status."""
    say = report.progress.say
    say("")
    for line in report.form.lines(report.experiments):
        say(line)
    problems = [f"{preset} seed {seed}: {problem}" for (preset, seed), problem in report.results.failed.items()]
    if report.problem:
        problems.append(report.problem)
    else:
        copied = f"; the same, and histories, in {report.copy_to}" if report.copy_to is not None else ""
        say(f"wrote {', '.join(map(str, report.written))}{copied}")
    for problem in problems:
        print(printable(f"spiketrain: error: {problem}"), file=sys.stderr)
    if stopped is not None:
        print(f"spiketrain: interrupted. The same command goes on in {report.folder}", file=sys.stderr)
        return stopped.status
    return 2 if problems else 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
