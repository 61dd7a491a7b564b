"""Which files a data set consists of: the one lister of all readers, and how a file of one is opened."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from spiketrain.errors import UserError, printable

# What operating systems leave beside the files of users, without a dot at the front that hides it.
LITTER = ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information")
_DEEPEST = 100  # folders within folders
KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


class Listing:
    """Files below a folder, and what was left out of them.

    Attributes:
        folder: that was looked through
        files: sorted by the parts of their paths
        left_out: how many entries, by the reason
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.left_out: Counter[str] = Counter()

    def leave_out(self, path: Path, reason: str) -> None:
        """Take `path` out of the files again."""
        self.files.remove(path)
        self.left_out[reason] += 1

    def say_what_was_left_out(self) -> None:
        """One warning, where there is anything to say."""
        if self.left_out:
            counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
            warnings.warn(printable(f"left out of {self.folder}: {counts}"), stacklevel=2)


def is_hidden(name: str) -> bool:
    """Whether an entry is of no data set: hidden by a dot at the front, or the litter of an operating system."""
    return name.startswith(".") or name.lower() in LITTER


def list_files(folder: Path, suffixes: Collection[str]) -> Listing:
    """All files below `folder`, however deep, whose names end in one of `suffixes` (lower case here, either case there).

    Hidden entries (those with a dot at the front, such as the ``._x`` of macOS archives, and the litter of other systems) and files
    with other endings are left out and counted. Links are followed, but not in a circle.

    Raises:
        UserError: an entry with one of the suffixes is no regular file; folders without end.
        OSError: a folder cannot be read.
    """
    listing = Listing(folder)
    _walk(folder, frozenset(suffixes), listing, frozenset({_identity(os.stat(folder))}))
    listing.files.sort(key=lambda path: path.parts)
    return listing


def _walk(folder: Path, suffixes: frozenset[str], listing: Listing, above: frozenset[tuple[int, int]]) -> None:
    if len(above) > _DEEPEST:
        raise UserError(f"{listing.folder} holds folders within folders, more than {_DEEPEST} deep")
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        path = folder / name
        if is_hidden(name):
            listing.left_out["hidden"] += 1
            continue
        suffix = path.suffix.lower()
        try:
            status = os.stat(path)
        except OSError as error:
            if suffix in suffixes:
                raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
            listing.left_out["that cannot be read"] += 1
            continue
        if stat.S_ISDIR(status.st_mode):
            if _identity(status) in above:
                listing.left_out["that lead back up"] += 1
            else:
                before = len(listing.files)
                _walk(path, suffixes, listing, above | {_identity(status)})
                if suffix in suffixes and len(listing.files) == before:
                    raise UserError(f"{path} is {_kind(status)}: expected a regular file")
        elif suffix not in suffixes:
            listing.left_out[f"ending in {suffix}" if suffix else "without an ending"] += 1
        elif not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is {_kind(status)}: expected a regular file")
        else:
            listing.files.append(path)


def open_regular(path: Path) -> BinaryIO:
    """`path` opened for reading; what is no regular file is not waited for.

    Raises:
        UserError: it is a folder, a pipe, a device.
        OSError: it is not there, or cannot be read.
    """
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is {_kind(status)}: expected a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, at_most: int) -> bytes:
    """The whole of a regular file.

    Raises:
        UserError: it is no regular file, or holds more than `at_most` bytes.
        OSError: it is not there, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > at_most:
            raise UserError(f"{path} holds {size} bytes: expected at most {at_most}")
        return file.read(at_most)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _kind(status: os.stat_result) -> str:
    return next((words for is_kind, words in KINDS.items() if is_kind(status.st_mode)), "no file")
