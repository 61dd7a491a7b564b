"""The command that shows and clears the decoded copies of data sets in the cache folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from spiketrain.errors import UserError, printable
from spiketrain.reports.tables import aligned


def register(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add it by the function that adds a command to the parser."""
    text = "Show the decoded copies of data sets that later runs read: what, how large, how old; or with 'clear' remove them."
    added = command("cache", show_or_clear, text)
    added.add_argument("action", nargs="?", choices=("list", "clear"), default="list", help="default: list")
    added.add_argument("--clear", action="store_true", help="the same as 'clear'")


def show_or_clear(arguments: argparse.Namespace, _: list[str]) -> int:
    from spiketrain.data import cache
    from spiketrain.data.folders import cache_dir

    place = printable(str(cache_dir()))
    try:
        if arguments.clear or arguments.action == "clear":
            files, size = cache.clear()
            print(f"removed {files} files, {_megabytes(size)}, from {place}")
            return 0
        found = cache.entries()
    except OSError as error:
        raise UserError(f"cache folder {place}: {error}") from None
    if found:
        rows = [
            (
                entry.data_set,
                _megabytes(entry.size),
                _age(entry.age_seconds),
                entry.state or "in order",
                entry.root or "-",
                str(entry.path),
            )
            for entry in found
        ]
        header = ("data set", "size", "age", "state", "made from", "file")
        print(*(printable(line) for line in aligned([header, *rows])), sep="\n")
    print(
        f"{len(found)} files, {_megabytes(sum(entry.size for entry in found))}, in {place}; 'spiketrain cache clear' removes them"
    )
    return 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
