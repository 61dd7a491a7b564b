"""The command that trains a preset with many settings, each with several seeds, and puts them side by side."""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from spiketrain.cli import reproduce
from spiketrain.cli.raw_config import raw_config
from spiketrain.config.raw import parse_text, split_options
from spiketrain.errors import UserError, shortened, shown

OPTIONS = ("--over", "--grid", "--list", "--seeds", "--out", "--parallel", "--threads", "--table-only")
_MOST = 1000  # runs: more is a slip
_LARGEST_FILE = 1 << 20  # bytes
# Fields that the command sets itself, or that say nothing of a training.
_INSTEAD = {"seed": "give --seeds", "trainer.out": "give --out", "trainer.progress": "it changes no run", "preset": "it names the runs"}
Setting = dict[str, str]  # fields and their values, as text


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = (
        "Train a preset with all settings of a grid, or of a list, each with several seeds: sweep.md, sweep.csv, runs.csv, sweep.png. Runs that are "
        "there already count; those that were interrupted go on."
    )
    added = command("sweep", sweep, text)
    added.add_argument("preset", metavar="PRESET", nargs="?", help="see 'spiketrain list'")
    added.add_argument("--config", metavar="FILE", help="YAML file put over the preset (or used alone)")
    added.add_argument("--over", metavar="FIELD=V1,V2", action="append", default=[], help="a field and its values; several are combined, each with each")
    kinds = added.add_mutually_exclusive_group()
    kinds.add_argument("--grid", action="store_true", help="all combinations of --over: the default")
    kinds.add_argument("--list", metavar="FILE", help="CSV with a column for each field, named in its first line, and a line for each setting")
    added.add_argument("--seeds", metavar="N", help="how many for each setting, or a list such as 3,5,8; default 1")
    added.add_argument("--out", metavar="DIR", default="runs/sweep", help="runs lie in DIR/<setting>/seed-<n>; default runs/sweep")
    reproduce.add_process_options(added)
    added.add_argument("--table-only", action="store_true", help="train nothing, show what is there")
    added.add_argument("-h", "--help", action="help", help="show this help")


def sweep(arguments: argparse.Namespace, fields: list[str]) -> int:
    settings = _from_list(Path(os.path.expanduser(arguments.list)), arguments.over) if arguments.list else _grid(arguments.over)
    common = split_options(fields)
    swept = dict.fromkeys(name for setting in settings for name in setting)
    for name in [*swept, *(name for name, _ in common)]:
        if name in _INSTEAD or name.startswith(("published", "about", "departs")):
            raise UserError(f"field {shortened(name, 60)}: cannot be set for a sweep: {_INSTEAD.get(name, 'it is a label')}")
    for name, _ in common:
        if name in swept:
            raise UserError(f"field {shortened(name, 60)}: is swept over and given as --{shortened(name, 60)}, too")
    if arguments.threads is not None:
        if "trainer.threads" in [*swept, *(name for name, _ in common)]:
            raise UserError("--threads and trainer.threads are one; give one of them")
        fields = [*fields, f"--trainer.threads={arguments.threads}"]
    from spiketrain.cli.seeds import Request, run_seeds, show_table
    from spiketrain.reports.sweep import Sweep

    if arguments.preset is None and arguments.config is None:
        raise UserError("name the preset to sweep over (see 'spiketrain list'), or a configuration with --config FILE")
    raw = raw_config(arguments)
    source = reproduce.source_of(arguments.preset, arguments)
    number, seeds = reproduce.seeds_of(arguments.seeds, default=1)
    if len(settings) * number > _MOST:
        raise UserError(f"expected at most {_MOST} runs, got {len(settings)} settings with {number} seeds each")
    requests = [
        Request(raw, source, [*fields, *(f"--{name}={text}" for name, text in setting.items())], number, seeds, name=_folder_name(setting))
        for setting in settings
    ]
    _check(settings, requests)
    out, form = reproduce.folder("--out", arguments.out), Sweep(list(swept), {_folder_name(setting): setting for setting in settings})
    if arguments.table_only:
        return show_table(requests, out, None, every=False, form=form)
    return run_seeds(requests, out, None, arguments.parallel, form=form)


def _grid(over: list[str]) -> list[Setting]:
    """All combinations of the values; the last field changes fastest."""
    if not over:
        raise UserError("say over what to sweep: --over optimizer.lr=1e-4,1e-3, or --list FILE")
    values: dict[str, list[str]] = {}
    for given in over:
        name, has_values, text = given.partition("=")
        name = name.strip().removeprefix("--")
        if not has_values or not name:
            raise UserError(f"--over: expected FIELD=VALUE,VALUE,..., such as optimizer.lr=1e-4,1e-3, got {shortened(given, 60)}")
        if name in values:
            raise UserError(f"--over: the field {shortened(name, 60)} is given twice")
        values[name] = _values(name, text)
    count = 1
    for found in values.values():
        count *= len(found)
    if count > _MOST:
        raise UserError(f"--over: expected at most {_MOST} combinations, got {count}")
    return [dict(zip(values, combination)) for combination in itertools.product(*values.values())]


def _values(name: str, text: str) -> list[str]:
    """The values between commas; those within brackets or quotes are part of one."""
    try:
        found = parse_text(f"[{text}]")
    except UserError:
        found = None
    if not isinstance(found, list) or not found or any(isinstance(value, dict) for value in found):
        raise UserError(f"--over: expected values of {shortened(name, 60)} with commas between them, got {shortened(text, 60)}")
    return [_as_text(value) for value in found]


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    return "null" if value is None else str(value)


def _from_list(path: Path, over: list[str]) -> list[Setting]:
    """A setting for each line of a CSV file. An empty cell leaves the field as it is."""
    if over:
        raise UserError("--list and --over: give one of them")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise UserError(f"it is larger than {_LARGEST_FILE // 1024} KiB")
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(), strict=True, skipinitialspace=True) if any(row)] or [[]]
    except (OSError, ValueError, csv.Error, UserError) as error:
        raise UserError(shortened(f"--list: cannot read {shortened(path, 100)}: {error}")) from None
    if not header or not all(header) or not rows:
        raise UserError(f"--list: expected in {shortened(path, 100)} a first line of fields, such as optimizer.lr,network.layers, and a line for each setting")
    if len(set(header)) < len(header):
        raise UserError(f"--list: a field is given twice in the first line of {shortened(path, 100)}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"--list: line {number} of {shortened(path, 100)} has {len(row)} values for {len(header)} fields; quote those with commas in them")
    return [{name: value for name, value in zip(header, row) if value} for row in rows]


def _check(settings: list[Setting], requests: list) -> None:
    """Refuse what is wrong in any of the settings before anything runs.

    Raises:
        UserError: an unknown field, a wrong value, layers that are none, two settings that are the same.
    """
    seen: dict[str, Setting] = {}
    for setting, request in zip(settings, requests):
        for config in request.configs().values():
            _check_layers(config)
            fingerprint = json.dumps(config.to_dict(), sort_keys=True)
            if fingerprint in seen:
                raise UserError(shortened(f"two settings are the same: {_words(seen[fingerprint])}; and {_words(setting)}"))
            seen[fingerprint] = setting


def _check_layers(config) -> None:
    """Whether the notation of the network can be read: what else it asks of the data shows when a run begins."""
    from spiketrain.models import notation

    if config.network.model or config.network.feedback:
        return
    problem = None
    for has_outputs in (True, False):
        try:
            notation.parse(config.network.layers, config.network.padding, has_outputs, allows=notation.ALL)
            return
        except UserError as error:
            problem = problem or error
    raise problem


def _words(setting: Setting) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in setting.items()) or "the preset as it is"


def _folder_name(setting: Setting) -> str:
    """What a setting's folder is called: readable, and unlike that of any other, whatever else is swept over."""
    readable = "_".join(f"{name.rpartition('.')[2]}={value}" for name, value in setting.items())
    readable = re.sub(r"[^A-Za-z0-9.=+-]+", "-", readable.replace("_", "-")).strip("-.")[:60] or "preset"
    digest = hashlib.sha256(json.dumps(sorted(setting.items())).encode()).hexdigest()[:8]
    return f"{readable}-{digest}"
