"""The presets, a YAML file each: the published experiments of TSSL-BP, IDE, SPIDE, ELL, FELL and BELL, with local losses (local*) and
of the surface fit by L_proj (convex-surface-*); the BPTT twins of those of TSSL-BP; our own variants with LIF neurons (local*-lif-*)
and our own experiments with L_proj (other convex-*); and small ones on the digits data set.

A preset differs from the published experiment that it is named after in what its field ``departs`` names, and in nothing else that is
known. Presets of others lie in a folder of theirs (`also_in`), or in a package that an installed one's entry point names; they are read as
any file of a user is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from importlib import resources
from pathlib import Path

import yaml

from spiketrain import plugins
from spiketrain.config.raw import read_yaml
from spiketrain.errors import UserError, printable, shortened, unknown_name

_SUFFIX = ".yaml"
_folder: ContextVar[Path | None] = ContextVar("presets_folder", default=None)


@contextlib.contextmanager
def also_in(folder: str | Path | None) -> Iterator[None]:
    """Inside, the YAML files of a folder are presets, too; None for no folder.

    Raises:
        UserError: there is no such folder, it holds no preset, or one with the name of a preset of this package.
    """
    if folder is None:
        yield
        return
    folder = Path(os.path.expanduser(folder))
    shown = printable(shortened(folder, 100))
    try:
        found = _names_in(folder)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--presets: cannot read the folder {shown}: {reason}") from None
    if not found:
        raise UserError(f"--presets: there is no preset, a file NAME{_SUFFIX}, in {shown}")
    if taken := sorted(set(found) & set(_names_in(resources.files(__name__)))):
        raise UserError(f"--presets: {taken[0]}{_SUFFIX} in {shown} has the name of a preset of spiketrain; give it another one")
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(_places())


def load(name: str) -> dict:
    """The raw configuration of one preset.

    Raises:
        UserError: there is no such preset; the message names the nearest. Or it is not of this package, and cannot be read.
    """
    places = _places()
    if name not in places:
        raise unknown_name("preset", name, places)
    return _read(name, *places[name])


def load_all() -> dict[str, dict | UserError]:
    """The raw configurations of all presets by their names, or why one cannot be read."""
    found: dict[str, dict | UserError] = {}
    for name, place in sorted(_places().items()):
        try:
            found[name] = _read(name, *place)
        except UserError as error:
            found[name] = error
    return found


def _read(name: str, place, is_ours: bool) -> dict:
    file = place / f"{name}{_SUFFIX}"
    if is_ours:
        return {"preset": name, **yaml.safe_load(file.read_text(encoding="utf-8"))}
    return {**read_yaml(str(file)), "preset": name}


def _places() -> dict[str, tuple]:
    """Name of each preset -> (the folder it lies in, whether that is this package's). The first place that has a name keeps it: this package,
    the folder that was named, installed packages."""
    found: dict[str, tuple] = {}
    places = [(resources.files(__name__), True)]
    places += [] if (folder := _folder.get()) is None else [(folder, False)]
    places += [(place, False) for place in _installed()]
    for place, is_ours in places:
        for name in _names_in(place):
            found.setdefault(name, (place, is_ours))
    return found


def _names_in(place) -> list[str]:
    # Regular files: a pipe, say, would never end.
    files = [file for file in place.iterdir() if file.name.endswith(_SUFFIX) and not file.name.startswith(".") and file.is_file()]
    return [file.name.removesuffix(_SUFFIX) for file in files]


def _installed() -> list[Path]:
    """The folders of presets that installed packages bring. One that cannot be had has none: it is no reason for a command to fail."""
    found = []
    for point in plugins.entry_points(plugins.PRESETS):
        with contextlib.suppress(Exception):  # of the foreign package's own code
            folder = Path(str(resources.files(point.value)))
            if folder.is_dir():
                found.append(folder)
    return found
