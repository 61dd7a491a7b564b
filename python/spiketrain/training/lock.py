"""One process at a time in a run directory: the file ``.lock``, held by the operating system for as long as its owner lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
from pathlib import Path
from typing import BinaryIO

from spiketrain.errors import UserError
from spiketrain.files import is_alive

NAME = ".lock"


class Lock:
    """The lock of a folder. The system lets go of it when its owner dies, however it dies; the file names the owner.

    Args:
        folder: what is locked; a folder that is renamed takes its lock along, see `moved`

    Raises:
        UserError: another process holds it, which the message names, or what is called so is no regular file.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        while True:
            self._file = self._opened()
            if self._take():
                return
            self._file.close()

    def _opened(self) -> BinaryIO:
        """The file, made if there is none. A link is not followed: a run directory may come from somebody else, and what is locked is written."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK):
                raise self._no_file() from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._no_file()
        # A file object: it is closed, and the lock free, when nobody knows this lock any more.
        return os.fdopen(descriptor, "r+b", buffering=0)

    def _no_file(self) -> UserError:
        return UserError(f"{self.path} is no regular file, so it is no lock: delete it. Nothing was changed")

    def _take(self) -> bool:
        """Whether the file is ours; else its last owner deleted it just now, and there is a new one to try."""
        has_locks = True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._in_use() from None
            has_locks = False  # a file system without locks: what the file says must do
        try:
            if os.stat(self.path).st_ino != os.fstat(self._file.fileno()).st_ino:
                return False
        except FileNotFoundError:
            return False
        process, host = self._owner()
        here = socket.gethostname()
        if host is not None and host != here:
            raise self._in_use(f". If that process is gone, delete {self.path}")
        if not has_locks and host == here and process != os.getpid() and is_alive(process):
            raise self._in_use()
        os.ftruncate(self._file.fileno(), 0)
        os.pwrite(self._file.fileno(), f"{os.getpid()}@{here}\n".encode(), 0)
        return True

    def moved(self, folder: Path) -> None:
        """The locked folder was renamed."""
        self.path = folder / NAME

    def release(self) -> None:
        """Let go of the folder; nothing is left in it."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self._file.close()

    def _owner(self) -> tuple[int, str | None]:
        """(process, host), or (0, None) where the file does not say."""
        text = os.pread(self._file.fileno(), 300, 0).decode(errors="replace")
        match = re.fullmatch(r"(\d{1,9})@([\w.-]{1,255})\n", text)
        return (int(match[1]), match[2]) if match else (0, None)

    def _in_use(self, hint: str = "") -> UserError:
        process, host = self._owner()
        who = f"process {process} on {host}" if host else "another process"
        return UserError(f"run directory {self.path.parent} is in use: {who} works in it{hint}")
