"""What a run was trained on: ``sessions.csv`` in its directory, one row for each process that trained there."""

from __future__ import annotations

import csv
import functools
import io
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import torch

import spikeops
from spiketrain import distributed

NAME = "sessions.csv"
COLUMNS = ("started", "epoch", "steps", "machine", "device", "threads", "processes", "torch", "spikeops", "commit")
_LARGEST_FILE = 1 << 20  # bytes; a session takes some 150


def of_this_process(epoch: int, steps: int, device: torch.device) -> dict[str, object]:
    """The row of a process that begins to train.

    Args:
        epoch, steps: from where: complete epochs, and training steps in the one after them
        device: on which it trains
    """
    return {
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "epoch": epoch,
        "steps": steps,
        "machine": machine(device),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
        "torch": torch.__version__,
        "spikeops": spikeops.__version__,
        "commit": commit(),
    }


def with_row(path: Path, session: dict[str, object]) -> str:
    """The text of a file of sessions with one more row. What cannot be read is left out: it is a record, and nothing goes by it."""
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*read(path), session])
    return table.getvalue()


def read(path: Path) -> list[dict[str, str]]:
    """The sessions that a file holds, [] if there is none or it is none."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            return []
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if row.keys() == set(COLUMNS) and all(isinstance(value, str) for value in row.values())]


def machine(device: torch.device) -> str:
    """What the hardware calls itself, without the name of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    name = re.sub(r"\((R|TM)\)", "", found[1] if found else name, flags=re.IGNORECASE)
    return f"{' '.join(name.split())}, {os.cpu_count()} cores"


def commit() -> str:
    """The commit of the sources that run, with "+changes" if they differ from it; "" where nobody knows: in an installed package.

    The environment variable SPIKEOPS_COMMIT tells it there.
    """
    return os.environ.get("SPIKEOPS_COMMIT") or _commit_of_the_sources()


@functools.cache  # those that this process has loaded
def _commit_of_the_sources() -> str:
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an installed copy may lie in a folder within the repository
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
