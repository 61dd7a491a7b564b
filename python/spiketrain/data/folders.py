"""Where data sets and decoded copies of them lie."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(root: str | None) -> Path:
    """Folder of the data sets: the one given, else $SPIKEOPS_DATA, else ~/.cache/spikeops."""
    return Path(root or os.environ.get("SPIKEOPS_DATA") or cache_dir()).expanduser()


def cache_dir() -> Path:
    """Folder for decoded copies of data sets: ~/.cache/spikeops, or below $XDG_CACHE_HOME where that is set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spikeops"
