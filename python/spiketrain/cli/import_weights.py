"""The command that makes a run directory of weights that were trained elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from spiketrain.cli.commands import begin_to_compute
from spiketrain.cli.raw_config import add_arguments, raw_config
from spiketrain.config import merge
from spiketrain.errors import printable


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = (
        "Make a run directory of a checkpoint, one of the published ones of TSSL-BP, IDE, SPIDE, ELL, FELL and BELL or one of spiketrain: "
        "to test with 'eval', 'rates' and 'plot', or to train from the first epoch on with 'resume'."
    )
    added = command("import", import_weights, text)
    added.add_argument("file", metavar="FILE", help="checkpoint (nothing that it names is run), or run directory")
    add_arguments(added, "--preset")
    added.add_argument("--out", metavar="RUN", help="run directory; default runs/<preset>-<n>, the first n that is free")
    added.add_argument("-h", "--help", action="help", help="show this help")


def import_weights(arguments: argparse.Namespace, fields: list[str]) -> int:
    raw = merge(raw_config(arguments), {"init": arguments.file})
    from spiketrain.methods import load_config

    config = load_config(raw, [*fields, *(["--trainer.out", arguments.out] if arguments.out is not None else [])])
    from spiketrain.training.run_directory import RunDirectory
    from spiketrain.training.trainer import Trainer
    from spiketrain.training.weights import load_weights

    begin_to_compute(arguments)
    trainer = Trainer(config)
    others = load_weights(trainer.method, config.init)
    run = RunDirectory.create(config)
    trainer.write(run)
    if others:
        print(others)
    print(printable(f"wrote {run.path}. Test it with: spiketrain eval {run.path}"))
    return 0
