"""The command that runs presets with several seeds and puts what they come to beside the published figures."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from spiketrain import launcher
from spiketrain.cli.raw_config import raw_config
from spiketrain.config.bounds import Folder
from spiketrain.config.raw import split_options
from spiketrain.errors import UserError, shortened

OPTIONS = ("--seeds", "--out", "--parallel", "--threads", "--table-only", "--copy-to", "--with")
_MOST = 1000  # seeds, or processes: more is a slip
_INSTEAD = {"seed": "--seeds", "trainer.out": "--out"}  # fields that this command sets itself


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = (
        "Run presets with several seeds, and put mean, standard deviation and best, of the last and of the best epoch, beside the published "
        "figures: results.md, results.csv, runs.csv, results.png. Runs that are there already count; those that were interrupted go on."
    )
    added = command("reproduce", reproduce, text)
    added.add_argument("presets", metavar="PRESET", nargs="*", help="see 'spiketrain list'")
    added.add_argument("--config", metavar="FILE", help="YAML file put over each preset (or used alone)")
    added.add_argument("--seeds", metavar="N", help="how many, from the preset's own seed on, or a list such as 3,5,8 or [3]; default 5")
    added.add_argument("--out", metavar="DIR", default="runs/reproduce", help="runs lie in DIR/<preset>/seed-<n>; default runs/reproduce")
    add_process_options(added)
    added.add_argument("--table-only", action="store_true", help="train nothing, show what is there; without PRESET all of it")
    added.add_argument("--copy-to", metavar="FOLDER", help="write tables and picture there, too, and a small history of each complete run")
    added.add_argument("--with", dest="kept", metavar="FOLDER", action="append", default=[], help="what --copy-to wrote: its complete runs count, too")
    added.add_argument("-h", "--help", action="help", help="show this help")


def reproduce(arguments: argparse.Namespace, fields: list[str]) -> int:
    if launcher.processes() > 1:
        raise UserError("reproduce starts its processes itself (--parallel N): start it without torchrun")
    for name, _ in split_options(fields):
        if name in _INSTEAD:
            raise UserError(f"option --{name}: this command sets it for each run; give {_INSTEAD[name]}")
    threads = [text for name, text in split_options(fields) if name == "trainer.threads"]
    if arguments.threads is not None:
        if threads:
            raise UserError("--threads and --trainer.threads are one; give one of them")
        fields = [*fields, f"--trainer.threads={arguments.threads}"]
    from spiketrain.cli.seeds import Request, run_seeds, show_table

    names = arguments.presets or ([None] if arguments.config else [])
    if not names and not arguments.table_only:
        raise UserError("name the presets to reproduce (see 'spiketrain list')")
    requests = []
    for name in names:
        raw = raw_config(argparse.Namespace(preset=name, config=arguments.config))
        requests.append(Request(raw, source_of(name, arguments), fields, *seeds_of(arguments.seeds)))
    out, copy_to = folder("--out", arguments.out), arguments.copy_to and folder("--copy-to", arguments.copy_to)
    kept = [folder("--with", path) for path in arguments.kept]
    if arguments.table_only:
        return show_table(requests, out, copy_to, every=arguments.seeds is None, kept=kept)
    return run_seeds(requests, out, copy_to, arguments.parallel, kept=kept)


def add_process_options(added: argparse.ArgumentParser) -> None:
    """How many runs at a time, with how many threads."""
    added.add_argument("--parallel", metavar="N", type=count, default=1, help="runs at a time; default 1")
    added.add_argument("--threads", metavar="N", type=count, help="CPU threads of each run; default: PyTorch's choice, shared out among them")


def source_of(preset: str | None, arguments: argparse.Namespace) -> list[str]:
    """Words that name a preset, and what is put over it, on the command line of each run."""
    source = [preset] if preset else []
    for option, given in (("--config", arguments.config), ("--presets", arguments.presets_folder)):
        source += [] if given is None else [option, given]
    return source


def seeds_of(text: str | None, default: int = 5) -> tuple[int, list[int] | None]:
    """(how many, which): from the preset's own one on if it is not said which."""
    if text is None:
        return default, None
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        if not 1 <= int(text) <= _MOST:
            raise UserError(f"--seeds: expected 1 to {_MOST}, or a list such as 3,5,8, got {text}")
        return int(text), None
    inner = text.strip()
    is_list = inner.startswith("[") and inner.endswith("]")
    words = [word.strip() for word in (inner[1:-1] if is_list else inner).split(",")]
    words = words[:-1] if len(words) > 1 and not words[-1] else words
    if not all(re.fullmatch(r"[0-9]{1,20}", word) for word in words) or len(words) > _MOST:
        raise UserError(f"--seeds: expected a number of seeds, or a list such as 3,5,8 or [3], got {shortened(text, 60)}")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: a seed is given twice in {shortened(text, 60)}")
    return len(seeds), seeds


def count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected 1 to {_MOST}, got {shortened(text, 60)}")
    return int(text)


def folder(option: str, path: str) -> str:
    try:
        return Folder()(path)
    except ValueError as error:
        raise UserError(f"{option}: expected {error}, got {shortened(path, 60)}") from None
