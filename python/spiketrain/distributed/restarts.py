"""Processes that torchrun starts again learn which run those before them trained.

A note of it lies with torchrun on each machine, in its folder of logs, which outlives the processes: torchrun's store lies on one machine, perhaps
the one that is gone, and the process of rank 0 may be on another machine by then.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

from spiketrain import launcher
from spiketrain.distributed import group
from spiketrain.errors import UserError

_NAME = "spiketrain-run.json"


def note_run(path: Path) -> None:
    """This run directory, which holds a checkpoint, is what a restart goes on with. All processes have to say so."""
    note = group.share({"path": str(path.absolute()), "host": socket.gethostname(), "folder": _identity(path)} if group.is_main() else None)
    if (place := _place()) is not None and launcher.local_rank() == 0:
        with contextlib.suppress(OSError):  # then there is no note, and a restart begins anew, in another run directory
            place.write_text(json.dumps(note))


def noted_run() -> Path | None:
    """The run directory that processes before these have trained in, in all processes; None if there is none. All have to ask.

    Raises:
        UserError: it is on another machine, whose disk the main process does not see.
    """
    note = next(filter(None, group.gather(_note())), None)
    if note is None:
        return None
    path, here = Path(note["path"]), socket.gethostname()
    there = note["host"] == here or (path / "last.ckpt").is_file() and _identity(path) == note["folder"]
    if not group.share(there):
        main = group.share(here)
        raise UserError(
            f"started again, but the first process is on {main} now, which does not see {path} of {note['host']}, where the run is. Start all again, "
            f"{note['host']} first, with 'spiketrain resume', or give --trainer.out a folder that all machines share. The checkpoints are intact"
        )
    return path if group.share((path / "last.ckpt").is_file()) else None


def _place() -> Path | None:
    """The note's file; None where torchrun keeps no logs, or did not start this process."""
    report = os.environ.get("TORCHELASTIC_ERROR_FILE", "")  # LOGS/attempt_0/0/error.json
    return Path(report).parents[2] / _NAME if report.count(os.sep) > 3 else None


def _note() -> dict | None:
    try:
        return json.loads(_place().read_text()) if _place() is not None else None
    except (OSError, ValueError):
        return None


def _identity(path: Path) -> int:
    """Tells a folder from one of another disk that has the same path."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0
