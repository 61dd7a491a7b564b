"""What each command does. A command gets its arguments and the fields of the configuration, and returns an exit status.

Modules that need PyTorch are imported by the commands that use them: 'list' and '--help' answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from spiketrain import launcher, presets
from spiketrain.cli.raw_config import raw_config
from spiketrain.config import find_name, method_name
from spiketrain.config.parser import parse
from spiketrain.errors import UserError, printable, shortened
from spiketrain.reports.tables import aligned
from spiketrain.training.interrupt import Stopped, StopRequests


def list_presets(arguments: argparse.Namespace, _: list[str]) -> int:
    listed = {}
    for name, raw in presets.load_all().items():
        try:
            if isinstance(raw, UserError):
                raise raw
            # Its method stays a name: what belongs to its section is not known here.
            listed[name] = method_name(raw), parse({key: value for key, value in raw.items() if key != "method"}, [], None)
        except UserError as error:
            _note(shortened(f"preset {name}: {error}"))
    wanted = []
    for kind, given, known in (
        ("method", arguments.method, {method for method, _ in listed.values()}),
        ("data set", arguments.dataset, {config.data.name for _, config in listed.values()}),
    ):
        wanted.append(None if given is None else find_name(kind, given, known))
    rows, notes = [], []
    for name, (method, config) in listed.items():
        if any(value not in (None, has) for value, has in zip(wanted, (method, config.data.name))):
            continue
        published = config.published
        spread = "" if published.std is None else f" +- {published.std:.2f}"
        figures = [(key, getattr(published, key)) for key in ("mean", "best") if getattr(published, key) is not None]
        shown = " / ".join(f"{figure:.2f}{spread * (key == 'mean')} {key}" for key, figure in figures)
        about = config.about + ("; departs from the published experiment" if config.departs and not arguments.verbose else "")
        rows.append((name, method, config.data.name, shown or "-", about))
        notes.append([f"    departs: {departure}" for departure in config.departs] if arguments.verbose else [])
    if not rows:
        raise UserError("no preset matches; 'spiketrain list' shows all")
    header = ("preset", "method", "data", "published test accuracy, %", "network")
    for line, departures in zip(aligned([header, *rows]), [[], *notes]):
        print(line, *departures, sep="\n")
    return 0


def train(arguments: argparse.Namespace, fields: list[str]) -> int:
    if arguments.help:
        return _help(arguments, fields)
    raw = raw_config(arguments)
    from spiketrain.methods import load_config

    config = load_config(raw, fields)
    from spiketrain import distributed
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer
    from spiketrain.training.weights import load_weights

    begin_to_compute(arguments)
    with _together():
        if begun := distributed.share(_begun_before()):
            return _go_on(begun, [])
        trainer = Trainer(config)  # before the run directory: nothing is created if the data cannot be read
        if config.init:
            others = load_weights(trainer.method, config.init)
            if others:
                trainer.console.say(others)
        run = error = None
        if distributed.is_main():
            try:
                run = RunDirectory.create(config)
                distributed.note_run(run.path)
            except UserError as refused:
                error = str(refused)
        path, error = distributed.share((run and run.path, error))
        if error:
            raise UserError(error)
        return _fit(trainer, run or RunDirectory(path))


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Inside, the processes that torchrun has started are a group; one that is gone ends the others with its name."""
    from spiketrain import distributed

    distributed.start()
    try:
        yield
    except RuntimeError as error:  # perhaps a sum over all processes, which another one has left
        if (happened := distributed.what_happened()) is None:
            raise
        raise UserError(happened) from error
    finally:
        distributed.stop()


def _begun_before() -> str | None:
    """Of processes that torchrun has started again: the run that those before them began, once there is anything to go on with."""
    from spiketrain import distributed

    begun = distributed.noted_run() if distributed.is_main() else None
    return str(begun) if begun is not None and (begun / "last.ckpt").is_file() else None


def resume(arguments: argparse.Namespace, fields: list[str]) -> int:
    begin_to_compute(arguments)
    with _together():
        return _go_on(_folder(arguments), fields)


def _go_on(folder: str, fields: list[str]) -> int:
    from spiketrain import distributed
    from spiketrain.methods import load_config
    from spiketrain.training.changes import differences, resumed_config
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer

    run, content = _read(folder, RunDirectory.load_last, locks=True)
    try:
        config, changes = resumed_config(content, fields)
        edited = differences(run.recorded_config(), load_config(content["config"])) if distributed.is_main() else None
        trainer = Trainer(config)
        trainer.restore(content)
        if edited:
            _note(edited)
        for line in changes:
            trainer.console.say(line)
        return _fit(trainer, run)
    finally:
        run.release()


def _read(folder: str, load: Callable, locks: bool = False):
    """(run directory, one of its checkpoints). The main process alone reads: others may be on machines that do not see its disk."""
    from spiketrain import distributed
    from spiketrain.training.run_directory import RunDirectory

    run, content, error = RunDirectory(Path(folder)), None, ""
    if distributed.is_main():
        try:
            run = RunDirectory.open(folder)
            if locks:
                run.lock()
            content = load(run)
        except UserError as refused:
            run.release()
            error = str(refused)
    content, error = distributed.share((content, error))
    if error:
        raise UserError(error)
    return run, content


def begin_to_compute(arguments: argparse.Namespace) -> None:
    """What a program may set for its process, once PyTorch is there."""
    if arguments.is_own_process:
        import spikeops

        spikeops.keep_freed_memory()


def _fit(trainer, run) -> int:
    """Train to the end; the last line printed is the best result. Ctrl-C and a polite kill leave a run to resume."""
    from spiketrain import distributed

    try:
        with StopRequests() as stop:
            try:
                best = trainer.fit(run, stop.check)
            except RuntimeError as error:  # perhaps a sum over all processes, which another one has left
                stop.check()
                happened = distributed.what_happened()
                stop.check()  # torchrun has told all, and says why
                if happened is None:
                    raise
                raise UserError(f"{happened}. Go on with: spiketrain resume {run.path}, started as this was") from error
    except Stopped as stopped:
        if distributed.is_main():
            where = f" and {steps} steps" if (steps := trainer.saved_steps) else ""
            print(f"spiketrain: interrupted after epoch {trainer.epoch}{where}. Go on with: spiketrain resume {run.path}", file=sys.stderr)
        return stopped.status
    figure = f"{trainer.judge}_{trainer.task.name}"
    tested = "" if trainer.judge == "test" else f"test_{trainer.task.name}={trainer.task.tested(best):.4f} "
    trainer.console.say(f"best_{figure}={best[figure]:.4f} {tested}epoch={best['epoch']}")
    return 0


def evaluate(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain import distributed
    from spiketrain.training.changes import config_to_look

    with _together():
        trainer, run, content = _load_best(arguments, fields)
        figures = trainer.test_figures()
        distributed.gather(None)  # nobody leaves before all have their sums
    if not launcher.is_main():
        return 0
    print(f"test_{trainer.task.name}={figures[trainer.task.name]:.4f} epoch={content['epoch']}")
    if not config_to_look(content, fields)[1]:  # else the picture would be that of another experiment
        try:
            trainer.draw_confusion(content["epoch"], run.path)
        except Exception as error:  # a picture is not worth the result, whatever is wrong with it
            _note(f"confusion.png could not be drawn: {type(error).__name__}: {shortened(error, 200)}")
    return 0


def rates(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.reports import plots
    from spiketrain.reports.rates import energy_line, measure, table
    from spiketrain.training.trainer import undisturbed

    trainer, run, content = _load_best(arguments, fields)
    with undisturbed(trainer.method, trainer.config.seed, trainer.device):
        measured = measure(trainer.method, trainer.dataset, trainer.config.trainer.batch_size)
    print(f"{trainer.config.preset}, epoch {content['epoch']}, mean over {len(trainer.dataset.test)} test samples")
    print(*table(measured), sep="\n")
    if (totals := measured.totals()) is not None:
        print(energy_line(totals))
    else:
        print(f"synaptic operations: not counted, since {measured.uncounted or 'the synapses of this network are not known layer by layer'}")
    try:
        plots.save_rates(measured, trainer.config, run.path / f"rates.{arguments.format}")
    except OSError as error:
        raise UserError(f"cannot write the picture: {error}") from None
    print(printable(f"wrote {run.path / f'rates.{arguments.format}'}"))
    return 0


def plot(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.data.tasks import CLASSIFICATION
    from spiketrain.reports import plots

    trainer, run, content = _load_best(arguments, fields)
    history = run.load_last()["history"]
    if trainer.task is CLASSIFICATION:
        trainer.test_figures()
    try:
        written = plots.save_pictures(history, trainer.method, trainer.dataset, trainer.config, run.path, arguments.format)
        written += trainer.draw_confusion(content["epoch"], run.path, arguments.format)
    except OSError as error:
        raise UserError(f"cannot write the pictures: {error}") from None
    print(printable(f"wrote {', '.join(map(str, written))}"))
    return 0


def _load_best(arguments: argparse.Namespace, fields: list[str]):
    begin_to_compute(arguments)
    return load_best(_folder(arguments), fields, _note)


def load_best(folder: str, fields: list[str], say: Callable[[str], object] = lambda line: None):
    """(trainer with the best weights, run directory, checkpoint) of a finished or interrupted run."""
    from spiketrain import distributed
    from spiketrain.training.changes import config_to_look
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer

    run, content = _read(folder, RunDirectory.load_best)
    config, changes = config_to_look(content, fields)
    trainer = Trainer(config)
    trainer.restore(content)
    for line in changes if distributed.is_main() else []:
        say(line)
    return trainer, run, content


def bench(arguments: argparse.Namespace, fields: list[str]) -> int:
    if arguments.help:
        return _help(arguments, fields)
    raw = raw_config(arguments)
    from spiketrain.methods import load_config

    config = load_config(raw, fields)
    from spiketrain.training import devices
    from spiketrain.training.bench import step_times

    begin_to_compute(arguments)
    times = step_times(config)
    place = devices.described(devices.named(config.trainer.device))
    print(f"{config.preset}: one training step, batch {config.trainer.batch_size}, median of alternating runs; {place}")
    print(f"fused_seconds={times.fused:.5f} reference_seconds={times.reference:.5f} speedup={times.speedup:.2f}")
    return 0


def _help(arguments: argparse.Namespace, fields: list[str]) -> int:
    """Every field that can be set; those of the method only if something names one."""
    from spiketrain import methods
    from spiketrain.config.help import fields_help

    raw = raw_config(arguments) if arguments.preset or arguments.config else {}
    has_method = raw or any(word.startswith("--method.name") for word in fields)
    print(arguments.usage(), end="")
    print("Every field of the configuration can be set, in a YAML file (--config FILE) or here.")
    print(fields_help(methods.options_class(raw, fields) if has_method else None))
    if not has_method:
        print(f"\nmethod:\n  --method.name\n        one of {', '.join(methods.known_names())}, or package.module:Class (docs/extend/method.md)")
        print("        What else this section has, shows 'spiketrain train PRESET --help'.")
    return 0


def _folder(arguments: argparse.Namespace) -> str:
    return os.path.expanduser(arguments.run_dir)


def _note(line: str) -> None:
    print(f"spiketrain: note: {line}", file=sys.stderr)
