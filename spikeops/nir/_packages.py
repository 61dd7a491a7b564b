"""Packages that only this part needs, imported when it is used."""

from __future__ import annotations

import importlib
from types import ModuleType


def package(name: str) -> ModuleType:
    """The package.

    Raises:
        ImportError: with how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f'spikeops.nir needs the package {name} ({error}). Install it by: pip install "spikeops[nir]".') from error
