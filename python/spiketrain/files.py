"""Files that are either the old or the new version, never half of one, whenever the process dies."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from spiketrain.errors import UserError, shortened

TEMPORARY_PREFIX = ".unfinished-"
_ABANDONED_SECONDS = 24 * 3600  # after which a file that another machine has not finished is taken for left behind


def named_to_be_written(path: str | Path) -> Path:
    """The file that a user names for a result: ``~`` expanded, and past links, which stay.

    Raises:
        UserError: there is something else in its place. A device, such as /dev/null, would be replaced by a file.
    """
    given = os.path.expanduser(path)
    place = Path(os.path.realpath(given))
    if os.path.lexists(place) and not place.is_file():
        kind = "a folder" if place.is_dir() else "no regular file"
        raise UserError(f"cannot write {shortened(given, 150)}: it is {kind}")
    return place


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, push it to the disk, then put it in the place of `path`."""
    prefix = f"{TEMPORARY_PREFIX}{os.getpid()}@{socket.gethostname()}-"
    descriptor, temporary = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes left behind in `folder`; what a living one is writing stays."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if _is_left_behind(path) and not path.is_dir():
            path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of that number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _is_left_behind(path: Path) -> bool:
    named = re.match(rf"{re.escape(TEMPORARY_PREFIX)}([1-9]\d{{0,9}})@(.+)-[^-]*$", path.name)
    if not named:
        return True
    if named[2] == socket.gethostname():
        return not is_alive(int(named[1]))
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Push the renaming of a file in `folder` to the disk, where the system can open folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
