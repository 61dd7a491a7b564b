"""The command line ``spiketrain``."""

from __future__ import annotations

import argparse
import os
import sys
import warnings

from spiketrain import presets
from spiketrain.config import config_parser, load_config, merge, method_name, read_yaml
from spiketrain.errors import UserError
from spiketrain.interrupt import StopRequests
from spiketrain.memory import keep_freed_memory

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # what shells report for Ctrl-C
OWN_OPTIONS = ("--help", "--config", "--method", "--dataset")  # all others are fields of the configuration

# Modules that need PyTorch are imported by the commands that use them: 'list' and '--help' answer at once.


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for an error the user can mend, 130 when interrupted."""
    if argv is None:  # this process is ours
        keep_freed_memory()
    parser = _parser()
    arguments, rest = parser.parse_known_args(_join_fields(sys.argv[1:] if argv is None else argv))
    if rest and not arguments.takes_fields:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            return arguments.run(arguments, rest)
    except UserError as error:
        print(f"spiketrain: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("spiketrain", "spikeops"):
            raise
        print(
            f"spiketrain: error: the package '{error.name}' is missing. Install the extra: pip install 'spikeops[train]'",
            file=sys.stderr,
        )
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("spiketrain: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_USER_ERROR


def _print_warning(message: Warning | str, *_) -> None:
    print(f"spiketrain: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spiketrain", description="Train spiking networks with published methods.", allow_abbrev=False
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, takes_fields: bool = False) -> argparse.ArgumentParser:
        fields = " [--SECTION.FIELD VALUE ...]" if takes_fields else ""
        added = commands.add_parser(name, help=text, description=text + fields, allow_abbrev=False, add_help=not takes_fields)
        added.set_defaults(run=run, takes_fields=takes_fields)
        return added

    added = command(
        "list",
        _list,
        "Show the presets, with published test accuracy where there is one, and in what the published experiment differs.",
    )
    added.add_argument("--method", help="only presets of this method")
    added.add_argument("--dataset", help="only presets on this data set")

    for name, run, text in (
        ("train", _train, "Train a preset."),
        ("bench", _bench, "Time a training step of a preset, fused backend against reference."),
    ):
        added = command(name, run, text, takes_fields=True)
        added.add_argument("preset", nargs="?", metavar="PRESET", help="see 'spiketrain list'")
        added.add_argument("--config", metavar="FILE", help="YAML file put over the preset (or used alone)")
        added.add_argument("-h", "--help", action="store_true", help="show every field that can be set")

    for name, run, text in (
        ("resume", _resume, "Go on with a run that was stopped, or with --trainer.epochs N train it longer."),
        ("eval", _eval, "Test the best checkpoint of a run."),
        (
            "rates",
            _rates,
            "Print and draw how active the network of a run is: firing rates, synaptic operations; writes rates.png.",
        ),
        ("plot", _plot, "Draw the pictures of a run again."),
    ):
        added = command(name, run, text, takes_fields=True)
        added.add_argument("run_dir", metavar="RUN_DIR")
        added.add_argument("-h", "--help", action="help", help="show this help")
    return parser


def _join_fields(argv: list[str]) -> list[str]:
    """``--trainer.epochs 3`` as one word ``--trainer.epochs=3``, lest argparse take the 3 for the preset."""
    joined, words = [], iter(argv)
    for word in words:
        is_field = word.startswith("--") and "=" not in word and word not in OWN_OPTIONS
        value = next(words, None) if is_field else None
        joined.append(word if value is None else f"{word}={value}")
    return joined


def _list(arguments: argparse.Namespace, _: list[str]) -> int:
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
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def _train(arguments: argparse.Namespace, fields: list[str]) -> int:
    raw = _raw_config(arguments)
    if arguments.help:
        config_parser(method_name(raw, fields), "spiketrain train PRESET").print_help()
        return 0
    config = load_config(raw, fields)
    from spiketrain import distributed
    from spiketrain.rundir import RunDirectory
    from spiketrain.trainer import Trainer

    trainer = Trainer(config)  # before the run directory: nothing is created if the data cannot be read
    run = None
    if distributed.is_main():
        run = RunDirectory.create(config)
    return _fit(trainer, distributed.share(run))


def _resume(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain import checkpoint
    from spiketrain.rundir import RunDirectory
    from spiketrain.trainer import Trainer

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


def _eval(arguments: argparse.Namespace, fields: list[str]) -> int:
    trainer, _, content = _load_best(arguments, fields)
    print(f"test_{trainer.task.name}={trainer.test_figures()[trainer.task.name]:.4f} epoch={content['epoch']}")
    return 0


def _rates(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain import activity, plots
    from spiketrain.trainer import undisturbed

    trainer, run, content = _load_best(arguments, fields)
    with undisturbed(trainer.method, trainer.config.seed, trainer.device):
        measured = activity.measure(trainer.method, trainer.dataset, trainer.config.trainer.batch_size)
    print(f"{trainer.config.preset}, epoch {content['epoch']}, mean over {len(trainer.dataset.test)} test samples")
    print(*activity.table(measured), sep="\n")
    try:
        plots.save_rates(measured, trainer.config, run.path / "rates.png")
    except OSError as error:
        raise UserError(f"cannot write the picture: {error}") from None
    print(f"wrote {run.path / 'rates.png'}")
    return 0


def _plot(arguments: argparse.Namespace, fields: list[str]) -> int:
    from spiketrain import checkpoint, plots

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
    from spiketrain import checkpoint
    from spiketrain.rundir import RunDirectory
    from spiketrain.trainer import Trainer

    run = RunDirectory.open(arguments.run_dir)
    config = run.config(fields)
    content = checkpoint.load(run.best)
    trainer = Trainer(config)
    trainer.restore(content)
    return trainer, run, content


def _bench(arguments: argparse.Namespace, fields: list[str]) -> int:
    raw = _raw_config(arguments)
    if arguments.help:
        config_parser(method_name(raw, fields), "spiketrain bench PRESET").print_help()
        return 0
    config = load_config(raw, fields, prog="spiketrain bench")
    from spiketrain.bench import step_times

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
