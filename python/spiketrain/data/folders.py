"""Where data sets and decoded copies of them lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from spiketrain.errors import UserError


def data_root(root: str | None) -> Path:
    """Folder of the data sets: the one given, else $SPIKEOPS_DATA, else ~/.cache/spikeops.

    Raises:
        UserError: it begins with the ~ of a user that there is not.
    """
    path = Path(root or os.environ.get("SPIKEOPS_DATA") or cache_dir())
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"data.root: {path}: {error}") from None


def cache_dir() -> Path:
    """Folder for decoded copies of data sets: ~/.cache/spikeops, or below $XDG_CACHE_HOME where that is set.

    A user without a home has it in the folder for temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "spikeops"
    try:
        return Path.home() / ".cache" / "spikeops"
    except RuntimeError:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"spikeops-{user}"
