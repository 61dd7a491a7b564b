"""What each command does. A command gets its arguments and the fields of the configuration, and returns an exit status.

Modules that need PyTorch are imported by the commands that use them: 'list' and '--help' answer at once.
"""

from __future__ import annotations

import argparse
import sys

from spiketrain import presets
from spiketrain.config import merge, read_yaml
from spiketrain.errors import UserError
from spiketrain.reports.tables import aligned
from spiketrain.training.interrupt import StopRequests

EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C


def list_presets(arguments: argparse.Namespace, _: list[str]) -> int:
    rows = []
    for name in presets.names():
        raw = presets.load(name)
        if arguments.method not in (None, raw["method"]["name"]) or arguments.dataset not in (None, raw["data"]["name"]):
            continue
        published = raw.get("published", {})
        figures = [f"{published[key]:.2f} {key}" for key in ("mean", "best") if key in published]
        about = "; ".join([raw.get("about", ""), *(f"published {departure}" for departure in published.get("departures", []))])
        rows.append((name, raw["method"]["name"], raw["data"]["name"], " / ".join(figures) or "-", about))
    if not rows:
        raise UserError("no preset matches; 'spiketrain list' shows all")
    header = ("preset", "method", "data", "published test accuracy, %", "network; where the published experiment differs")
    print(*aligned([header, *rows]), sep="\n")
    return 0


def train(arguments: argparse.Namespace, fields: list[str]) -> int:
    raw = _raw_config(arguments)
    from spiketrain.methods import config_parser, load_config

    if arguments.help:
        config_parser(raw, fields, "spiketrain train PRESET").print_help()
        return 0
    config = load_config(raw, fields)
    from spiketrain import distributed
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer

    trainer = Trainer(config)  # before the run directory: nothing is created if the data cannot be read
    run = None
    if distributed.is_main():
        run = RunDirectory.create(config)
    return _fit(trainer, distributed.share(run))


def resume(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.training import checkpoint
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer

    run = RunDirectory.open(arguments.run_dir)
    config = run.config(fields)
    # A run that was killed before its first checkpoint has nothing to lose: it starts again.
    content = checkpoint.load(run.last) if run.last.exists() or (run.path / "metrics.csv").exists() else None
    trainer = Trainer(config)
    if content is not None:
        trainer.restore(content)
    return _fit(trainer, run)


def _fit(trainer, run) -> int:
    """Train to the end; the last line printed is the best result. Ctrl-C and a polite kill leave a run to resume."""
    from spiketrain import distributed

    try:
        with StopRequests() as stop:
            best = trainer.fit(run, stop.check)
    except KeyboardInterrupt:
        if distributed.is_main():
            print(f"spiketrain: interrupted after epoch {trainer.epoch}. Go on with: spiketrain resume {run.path}", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        distributed.stop()
    figure = f"test_{trainer.task.name}"
    trainer.console.say(f"best_{figure}={best[figure]:.4f} epoch={best['epoch']}")
    return 0


def evaluate(arguments: argparse.Namespace, fields: list[str]) -> int:
    trainer, _, content = _load_best(arguments, fields)
    print(f"test_{trainer.task.name}={trainer.test_figures()[trainer.task.name]:.4f} epoch={content['epoch']}")
    return 0


def rates(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.reports import plots
    from spiketrain.reports.rates import measure, table
    from spiketrain.training.trainer import undisturbed

    trainer, run, content = _load_best(arguments, fields)
    with undisturbed(trainer.method, trainer.config.seed, trainer.device):
        measured = measure(trainer.method, trainer.dataset, trainer.config.trainer.batch_size)
    print(f"{trainer.config.preset}, epoch {content['epoch']}, mean over {len(trainer.dataset.test)} test samples")
    print(*table(measured), sep="\n")
    try:
        plots.save_rates(measured, trainer.config, run.path / "rates.png")
    except OSError as error:
        raise UserError(f"cannot write the picture: {error}") from None
    print(f"wrote {run.path / 'rates.png'}")
    return 0


def plot(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain.reports import plots
    from spiketrain.training import checkpoint

    trainer, run, _ = _load_best(arguments, fields)
    history = checkpoint.load(run.last)["history"]
    try:
        written = plots.save_pictures(history, trainer.method, trainer.dataset, trainer.config, run.path)
    except OSError as error:
        raise UserError(f"cannot write the pictures: {error}") from None
    print(f"wrote {' and '.join(map(str, written))}")
    return 0


def _load_best(arguments: argparse.Namespace, fields: list[str]):
    """(trainer with the best weights, run directory, checkpoint) of a finished or interrupted run."""
    from spiketrain.training import checkpoint
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer

    run = RunDirectory.open(arguments.run_dir)
    config = run.config(fields)
    content = checkpoint.load(run.best)
    trainer = Trainer(config)
    trainer.restore(content)
    return trainer, run, content


def bench(arguments: argparse.Namespace, fields: list[str]) -> int:
    raw = _raw_config(arguments)
    from spiketrain.methods import config_parser, load_config

    if arguments.help:
        config_parser(raw, fields, "spiketrain bench PRESET").print_help()
        return 0
    config = load_config(raw, fields, prog="spiketrain bench")
    from spiketrain.training.bench import step_times

    times = step_times(config)
    print(
        f"{config.preset}: one training step, batch {config.trainer.batch_size}, median of alternating runs on {config.trainer.device}"
    )
    print(f"fused_seconds={times.fused:.5f} reference_seconds={times.reference:.5f} speedup={times.speedup:.2f}")
    return 0


def _raw_config(arguments: argparse.Namespace) -> dict:
    """The preset with the file of ``--config`` put over it, or either alone."""
    if arguments.preset is None and arguments.config is None:
        raise UserError("name a preset (see 'spiketrain list') or a configuration with --config FILE")
    raw = presets.load(arguments.preset) if arguments.preset else {}
    return merge(raw, read_yaml(arguments.config)) if arguments.config else raw
