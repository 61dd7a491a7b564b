"""The cache folder: decoded copies of data sets, each in one file that is whole, checked, and made anew when it is not.

A file is a line, padded to a multiple of 64 bytes, then the arrays. The line is a checksum of all that follows it and a description in
JSON. A file's name is that of a slot (a part of a data set as certain
settings decode it) and a key (all that its contents depend on); a copy in the same slot under another key is stale, and goes when
the new one is written. The checksum is a CRC: it is there to notice damage, at the speed of a disk.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from spiketrain.data.folders import cache_dir
from spiketrain.data.listing import open_regular
from spiketrain.errors import UserError, printable
from spiketrain.files import TEMPORARY_PREFIX, write_atomically

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # 1 was .npy and .npz files without a checksum
SUFFIX = ".cache"
ALIGNMENT = 64
LONGEST_LINE = 1 << 16
CHECKSUM_DIGITS = 8
CHUNK = 1 << 24
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.cache")
OLD_NAME = re.compile(r"[0-9a-f]{32}\.np[yz]")
DTYPE = re.compile(r"[<>|][biuf][1248]")
YOUNG_SECONDS = 2  # a file that is this young may not be locked yet by the process that writes it


@dataclass(frozen=True)
class Entry:
    """A file of the cache folder: a copy, one that is of no use any more, or what a killed process left.

    Attributes:
        state: "" for a copy in order; else what it is instead
    """

    path: Path
    data_set: str
    root: str
    size: int
    age_seconds: float
    state: str


@dataclass(frozen=True)
class Copy:
    """Where the decoded copy of a part of a data set lies.

    Attributes:
        data_set: its name, for the folder
        root: where its files are
        slot, key: see above; 16 hexadecimal digits each
    """

    data_set: str
    root: Path
    slot: str
    key: str

    @property
    def path(self) -> Path:
        return cache_dir() / self.data_set / f"{self.slot}-{self.key}{SUFFIX}"

    def read(self, memory_map: bool = False) -> dict[str, np.ndarray] | None:
        """The arrays, or None where there is no copy. A damaged one is removed, with a warning.

        Args:
            memory_map: leave them on the disk (changes stay in memory) instead of reading them into memory
        """
        try:
            return _read(self.path, memory_map)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            warnings.warn(printable(f"cannot read {self.path} ({error}): the data set is read anew"), stacklevel=2)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, MemoryError, UserError) as error:
            warnings.warn(printable(f"{self.path} is damaged ({error}): the data set is read anew"), stacklevel=2)
            self.discard()
        return None

    def discard(self) -> None:
        """Remove the copy."""
        _remove(self.path)

    def write(self, **arrays: np.ndarray) -> None:
        """Keep the arrays, and remove what is stale. Where there is no place for a cache, nothing is kept."""
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            for path in folder.iterdir():
                is_stale = NAME.fullmatch(path.name) and path.name.startswith(self.slot) and path != self.path
                if is_stale or OLD_NAME.fullmatch(path.name):
                    _remove(path)
            write_atomically(self.path, lambda file: self._fill(file, arrays))
        except OSError:
            pass  # no place for a cache: the next run reads the files again

    def _fill(self, file: BinaryIO, arrays: dict[str, np.ndarray]) -> None:
        _lock(file)
        arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        description = {
            "format": FORMAT,
            "data_set": self.data_set,
            "root": printable(str(self.root)),
            "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays.items()],
        }
        line = b" " + json.dumps(description).encode()
        line += b" " * (-(CHECKSUM_DIGITS + len(line) + 1) % ALIGNMENT) + b"\n"
        file.write(_written(_checksum(line, arrays)) + line)
        for array in arrays.values():
            file.write(_bytes(array))
            file.write(bytes(-array.nbytes % ALIGNMENT))


def _bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8)


def _written(checksum: int) -> bytes:
    return f"{checksum:0{CHECKSUM_DIGITS}x}".encode()


def _checksum(line: bytes, arrays: dict[str, np.ndarray]) -> int:
    checksum = zlib.crc32(line)
    for array in arrays.values():
        flat = _bytes(array)
        for start in range(0, len(flat), CHUNK):
            checksum = zlib.crc32(flat[start : start + CHUNK], checksum)
    return checksum


def _line(file: BinaryIO) -> tuple[bytes, bytes, dict[str, Any]]:
    """Checksum, what follows it in the line, and what that says."""
    checksum, line = file.read(CHECKSUM_DIGITS), file.readline(LONGEST_LINE)
    description = json.loads(line)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    return checksum, line, description


def _read(path: Path, memory_map: bool) -> dict[str, np.ndarray]:
    with open_regular(path) as file:
        checksum, line, description = _line(file)
        offset = CHECKSUM_DIGITS + len(line)
        if offset % ALIGNMENT:
            raise ValueError("its first line has another length")
        places = []
        for name, dtype, shape in description["arrays"]:
            if not DTYPE.fullmatch(dtype):
                raise ValueError("it holds something else than numbers")
            places.append((str(name), np.dtype(dtype), tuple(map(int, shape)), offset))
            size = math.prod(places[-1][2]) * places[-1][1].itemsize
            offset += size + -size % ALIGNMENT
        actual = os.fstat(file.fileno()).st_size
        if offset != actual:
            raise ValueError(f"it holds {actual} bytes, its first line promises {offset}")
        arrays = {name: _array(file, path, *place, memory_map) for name, *place in places}
    if checksum != _written(_checksum(line, arrays)):
        raise ValueError("its checksum is another one")
    return arrays


def _array(file: BinaryIO, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int, memory_map: bool) -> np.ndarray:
    if memory_map and math.prod(shape):
        return np.memmap(path, dtype, "c", offset, shape)
    file.seek(offset)
    array = np.empty(shape, dtype)
    if file.readinto(memoryview(_bytes(array))) != array.nbytes:
        raise ValueError("it is cut off")
    return array


def entries() -> list[Entry]:
    """All that lies in the cache folder and is the cache's own, sorted by path."""
    found = []
    folders = [path for path in cache_dir().iterdir() if path.is_dir()] if cache_dir().is_dir() else []
    for folder in sorted(folders):
        for path in sorted(folder.iterdir()):
            is_unfinished = path.name.startswith(TEMPORARY_PREFIX)
            if not (is_unfinished or NAME.fullmatch(path.name) or OLD_NAME.fullmatch(path.name)) or path.is_dir():
                continue
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            root, state = "", "of an older version"
            if is_unfinished:
                state = "being written" if _is_live(path, status) else "half-written by a process that was killed"
            elif NAME.fullmatch(path.name):
                try:
                    with open_regular(path) as file:
                        root, state = str(_line(file)[2]["root"]), ""
                except (OSError, ValueError, KeyError, RecursionError, UserError):
                    state = "damaged"
                if root and not Path(root).exists() and root.isprintable() and "\\" not in root:
                    state = "stale: its data set is gone"
            found.append(Entry(path, folder.name, root, status.st_size, max(0.0, time.time() - status.st_mtime), state))
    return found


def clear() -> tuple[int, int]:
    """Remove all that `entries` shows, but what a living process is writing. Returns how many files and bytes went.

    Raises:
        OSError: a file cannot be removed.
    """
    files = size = 0
    for entry in entries():
        if entry.state != "being written":
            entry.path.unlink(missing_ok=True)
            files, size = files + 1, size + entry.size
    return files, size


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        try:
            if not _is_live(path, path.lstat()):
                path.unlink(missing_ok=True)
        except OSError:
            pass


def _lock(file: BinaryIO) -> None:
    """Show for as long as this process lives and `file` is open that it is being written."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks: age has to tell
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_live(path: Path, status: os.stat_result) -> bool:
    age = time.time() - status.st_mtime
    if fcntl is None:
        return age < 24 * 3600
    if age < YOUNG_SECONDS:
        return True
    try:
        with open_regular(path) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except (OSError, UserError):
        return age < 24 * 3600
    return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
