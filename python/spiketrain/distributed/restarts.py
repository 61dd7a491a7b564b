"""``torchrun --max-restarts``: processes that are started again learn which run the first ones began."""

from __future__ import annotations

import os
from pathlib import Path

from spiketrain.distributed import store

_WAIT = 60.0  # seconds for torchrun to answer


def _may_restart() -> bool:
    return store.is_kept() and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def note_run(path: Path) -> None:
    """For the main process: this run directory is what a restart goes on with."""
    if _may_restart():
        store.connect(_WAIT).set(store.key("run"), str(path.absolute()))


def noted_run() -> Path | None:
    """For the main process: the run directory that processes before these have begun to train in, None if there is none."""
    if not _may_restart():
        return None
    known = store.connect(_WAIT)
    return Path(known.get(store.key("run")).decode()) if known.check([store.key("run")]) else None
