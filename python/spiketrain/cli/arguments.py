"""The commands, their arguments and what help says of them."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from spiketrain.cli import cache, commands, compare, export, import_weights, predict, report, reproduce, sweep
from spiketrain.cli.raw_config import add_arguments
from spiketrain.errors import UserError
from spiketrain.reports.drawing import KINDS

# Commands that take fields of the configuration.
WITH_FIELDS = ("train", "bench", "import", "reproduce", "resume", "eval", "rates", "plot", "predict", "export", "report", "compare", "sweep")
# All others are fields of the configuration.
OWN_OPTIONS = ("--help", "--version", "--config", "--method", "--dataset", "--plugin", "--presets")
# Of one command, elsewhere fields.
OWN_OPTIONS_OF = {
    "import": ("--preset", "--out"), "reproduce": reproduce.OPTIONS, "predict": predict.OPTIONS, "export": export.OPTIONS,
    "report": report.OPTIONS, "compare": compare.OPTIONS, "sweep": sweep.OPTIONS, "rates": ("--format",), "plot": ("--format",),
}  # fmt: skip

WITH_PRESETS = ("list", "train", "bench", "import", "reproduce", "sweep")
_PLUGIN = "module of one's own code that a file or a run may name: methods, networks, data sets; may be given several times"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See '{self.prog} --help'")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_) -> None:
        import torch

        import spikeops

        print(f"spiketrain {spikeops.__version__} (torch {torch.__version__}, Python {sys.version.split()[0]})")
        parser.exit()


def make_parser() -> Parser:
    """The parser of all commands. It sets `run`, what a command does."""
    parser = Parser(prog="spiketrain", description="Train spiking networks with published methods.", allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the versions of spikeops, torch and Python")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        takes_fields = name in WITH_FIELDS
        fields = " [--SECTION.FIELD VALUE ...]" if takes_fields else ""
        added = subparsers.add_parser(name, help=text, description=text + fields, allow_abbrev=False, add_help=not takes_fields)
        added.set_defaults(run=run)
        if takes_fields:
            added.add_argument("--plugin", metavar="MODULE", action="append", default=[], help=_PLUGIN)
        if name in WITH_PRESETS:
            added.add_argument("--presets", metavar="DIR", dest="presets_folder", help="folder of YAML files that are presets, too")
        return added

    added = command(
        "list",
        commands.list_presets,
        "Show the presets, with published test accuracy where there is one.",
    )
    added.add_argument("-v", "--verbose", action="store_true", help="below each preset, in what it departs from the published experiment")
    added.add_argument("--method", help="only presets of this method")
    added.add_argument("--dataset", help="only presets on this data set")

    for name, run, text in (
        ("train", commands.train, "Train a preset."),
        ("bench", commands.bench, "Time a training step of a preset, fused backend against reference."),
    ):
        added = command(name, run, text)
        add_arguments(added, "preset", nargs="?")
        added.add_argument("-h", "--help", action="store_true", help="show every field that can be set")
        added.set_defaults(usage=added.format_usage)

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
        added = command(name, run, text)
        added.add_argument("run_dir", metavar="RUN_DIR")
        if name in ("rates", "plot"):
            added.add_argument("--format", choices=KINDS, default="png", help="of the pictures: png, or pdf or svg, which any size suits")
        added.add_argument("-h", "--help", action="help", help="show this help")

    predict.register(command)
    export.register(command)
    import_weights.register(command)
    reproduce.register(command)
    sweep.register(command)
    compare.register(command)
    report.register(command)
    cache.register(command)
    return parser


def split_fields(argv: list[str]) -> tuple[list[str], list[str]]:
    """The words that argparse knows, and the fields of the configuration, each ``--section.field`` with its value.

    A value is whatever stands behind its field: with spaces, with a dash in front, whether the preset comes before or after it.
    """
    command = next((word for word in argv if word in WITH_FIELDS), None)
    if command is None:
        return list(argv), []
    own_options = (*OWN_OPTIONS, *OWN_OPTIONS_OF.get(command, ()))
    own, fields, words = [], [], iter(argv)
    for word in words:
        if not word.startswith("--") or word.partition("=")[0] in own_options:
            own.append(word)
            continue
        fields.append(word)
        if "=" not in word:
            fields += [value] if (value := next(words, None)) is not None else []
    return own, fields
