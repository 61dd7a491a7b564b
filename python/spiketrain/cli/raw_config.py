"""The configuration that the arguments of a command name: a preset, a file, or a file put over a preset."""

from __future__ import annotations

import argparse
import os
import sys

from spiketrain import presets
from spiketrain.config import merge, read_yaml
from spiketrain.config.raw import without_other_network
from spiketrain.errors import UserError, printable
from spiketrain.presets import tssl_bp_files


def add_arguments(parser: argparse.ArgumentParser, *preset: str, **options) -> None:
    """Those that `raw_config` reads. `preset` and `options`: how the one for the preset is given, an argument or an option."""
    parser.add_argument(*preset, metavar="PRESET", help="see 'spiketrain list'", **options)
    parser.add_argument("--config", metavar="FILE", help="YAML file put over the preset (or used alone); also one of TSSL-BP's own")


def raw_config(arguments: argparse.Namespace) -> dict:
    """The preset with the file of ``--config`` put over it, or either alone.

    Raises:
        UserError: neither is named, there is no such preset, or the file cannot be read.
    """
    if arguments.preset is None and arguments.config is None:
        raise UserError("name a preset (see 'spiketrain list') or a configuration with --config FILE")
    raw = presets.load(arguments.preset) if arguments.preset else {}
    if not arguments.config:
        return raw
    given = read_yaml(arguments.config)
    if not tssl_bp_files.is_one(given):
        network = given.get("network")
        said = [name for name, value in network.items() if value] if isinstance(network, dict) else []
        limits = given.get("trainer") if isinstance(given.get("trainer"), dict) else {}
        if {"data", "network", "method"} & given.keys() or {"limit_train", "limit_test"} & limits.keys():  # another experiment than the one whose figures these are
            raw = {key: value for key, value in raw.items() if key != "published"}
        return merge(without_other_network(raw, said), given)
    try:
        given = tssl_bp_files.translate(given)
    except UserError as error:
        raise UserError(f"{arguments.config}: {error}") from None
    if raw and raw["method"]["name"] != given["method"]["name"]:
        raise UserError(
            f"{arguments.config} is a configuration of tssl_bp, the preset {arguments.preset} one of {raw['method']['name']}"
        )
    if (root := given["data"]["root"]) and not os.path.isdir(os.path.expanduser(root)):
        note = f"Network.data_path: there is no folder {root}: the data is looked for where it is by default"
        print(f"spiketrain: note: {printable(note)}", file=sys.stderr)
        given["data"]["root"] = None
    return {**raw, **given, "departs": [], "published": {}}  # its sections are complete: nothing in them is the preset's
