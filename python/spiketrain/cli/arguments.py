"""The commands, their arguments and what help says of them."""

from __future__ import annotations

import argparse

from spiketrain.cli import cache, commands

OWN_OPTIONS = ("--help", "--config", "--method", "--dataset")  # all others are fields of the configuration


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands. It sets `run`, what a command does, and `takes_fields`, whether it takes fields of the run."""
    parser = argparse.ArgumentParser(
        prog="spiketrain", description="Train spiking networks with published methods.", allow_abbrev=False
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str, takes_fields: bool = False) -> argparse.ArgumentParser:
        fields = " [--SECTION.FIELD VALUE ...]" if takes_fields else ""
        added = subparsers.add_parser(name, help=text, description=text + fields, allow_abbrev=False, add_help=not takes_fields)
        added.set_defaults(run=run, takes_fields=takes_fields)
        return added

    added = command(
        "list",
        commands.list_presets,
        "Show the presets, with published test accuracy where there is one, and in what the published experiment differs.",
    )
    added.add_argument("--method", help="only presets of this method")
    added.add_argument("--dataset", help="only presets on this data set")

    for name, run, text in (
        ("train", commands.train, "Train a preset."),
        ("bench", commands.bench, "Time a training step of a preset, fused backend against reference."),
    ):
        added = command(name, run, text, takes_fields=True)
        added.add_argument("preset", nargs="?", metavar="PRESET", help="see 'spiketrain list'")
        added.add_argument("--config", metavar="FILE", help="YAML file put over the preset (or used alone)")
        added.add_argument("-h", "--help", action="store_true", help="show every field that can be set")

    for name, run, text in (
        ("resume", commands.resume, "Go on with a run that was stopped, or with --trainer.epochs N train it longer."),
        ("eval", commands.evaluate, "Test the best checkpoint of a run."),
        (
            "rates",
            commands.rates,
            "Print and draw how active the network of a run is: firing rates, synaptic operations; writes rates.png.",
        ),
        ("plot", commands.plot, "Draw the pictures of a run again."),
    ):
        added = command(name, run, text, takes_fields=True)
        added.add_argument("run_dir", metavar="RUN_DIR")
        added.add_argument("-h", "--help", action="help", help="show this help")

    cache.register(command)
    return parser


def join_fields(argv: list[str]) -> list[str]:
    """``--trainer.epochs 3`` as one word ``--trainer.epochs=3``, lest argparse take the 3 for the preset."""
    joined, words = [], iter(argv)
    for word in words:
        is_field = word.startswith("--") and "=" not in word and word not in OWN_OPTIONS
        value = next(words, None) if is_field else None
        joined.append(word if value is None else f"{word}={value}")
    return joined
