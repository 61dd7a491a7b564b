"""Which files a data set consists of: the one lister of all readers, and how a file of one is opened."""

from __future__ import annotations

import os
import stat
import warnings
from collections import Counter
from collections.abc import Collection, Iterable
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

    def leave_out(self, paths: Iterable[Path], reason: str) -> None:
        """Take some out of the files again."""
        out = set(paths)
        if out:
            self.files = [path for path in self.files if path not in out]
            self.left_out[reason] += len(out)

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
    with other endings are left out and counted. Links are followed. Every folder is listed once, however many ways lead to it: where
    it really is, else at the first of the links to it, in the order of their paths.

    Raises:
        UserError: an entry with one of the suffixes is no regular file; folders without end.
        OSError: a folder cannot be read.
    """
    walk = _Walk(Listing(folder), frozenset(suffixes))
    walk.enter(folder, os.stat(folder))
    while walk.links:
        found, walk.links = sorted(walk.links, key=lambda path: path.parts), []
        for path in found:
            walk.enter(path, os.stat(path))
    walk.check_folders_with_suffixes()
    walk.listing.files.sort(key=lambda path: path.parts)
    return walk.listing


class _Walk:
    """On the way through folders. `links`: to folders, not followed yet. `seen`: which folders have been listed."""

    def __init__(self, listing: Listing, suffixes: frozenset[str]) -> None:
        self.listing, self.suffixes = listing, suffixes
        self.links: list[Path] = []
        self.seen: set[tuple[int, int]] = set()
        self.with_suffix: dict[Path, os.stat_result] = {}

    def enter(self, folder: Path, status: os.stat_result) -> None:
        listing = self.listing
        if _identity(status) in self.seen:
            listing.left_out["that lead to folders listed already"] += 1
            return
        if len(folder.parts) - len(listing.folder.parts) > _DEEPEST:
            raise UserError(f"{listing.folder} holds folders within folders, more than {_DEEPEST} deep")
        self.seen.add(_identity(status))
        if folder.suffix.lower() in self.suffixes and folder != listing.folder:
            self.with_suffix[folder] = status
        with os.scandir(folder) as entries:
            names = [(entry.name, entry.is_symlink()) for entry in entries]
        for name, is_link in names:
            if is_hidden(name):
                listing.left_out["hidden"] += 1
            else:
                self.look_at(folder / name, is_link)

    def look_at(self, path: Path, is_link: bool) -> None:
        listing, suffix = self.listing, path.suffix.lower()
        try:
            status = os.stat(path)
        except OSError as error:
            if suffix in self.suffixes:
                raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
            listing.left_out["that cannot be read"] += 1
            return
        if stat.S_ISDIR(status.st_mode):
            if is_link:
                self.links.append(path)
            else:
                self.enter(path, status)
        elif suffix not in self.suffixes:
            listing.left_out[f"ending in {suffix}" if suffix else "without an ending"] += 1
        elif not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is {_kind(status)}: expected a regular file")
        else:
            listing.files.append(path)

    def check_folders_with_suffixes(self) -> None:
        """Refuse a folder in the place of a file. One with files in it is a folder with a dot in its name."""
        for path, status in self.with_suffix.items():
            if not any(path in file.parents for file in self.listing.files):
                raise UserError(f"{path} is {_kind(status)}: expected a regular file")


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
