"""Files of one recording each, by their endings: x, y, polarity and microseconds of every event.

| ending | holds |
|---|---|
| .npy | a structured array with a field for each |
| .npz | an array for each, or one structured array |
| .h5, .hdf5 | likewise, at the top or in ``events`` or ``CD/events`` |
| .bin | N-MNIST's events of 5 bytes |
| .dat | the events of Prophesee's cameras |

Names that fields go by elsewhere are known (`FIELDS`). Positions and times are whole numbers; polarities 0 and 1, or -1 and 1.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from spiketrain.data import hdf5_files, npy_files
from spiketrain.data.listing import read_bounded
from spiketrain.data.sparse_events import Events, check_inside
from spiketrain.errors import UserError, shortened

LARGEST_FILE = 2**32  # bytes; the largest recordings of a sample have some hundred millions
LARGEST_NUMBER = 2**62  # leaves room for differences
LARGEST_SIDE = 16_384  # pixels
FIELDS = {
    "x": ("x",),
    "y": ("y",),
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "p": ("p", "pol", "polarity", "polarities", "on"),
}
HDF5_PLACES = ("", "events/", "CD/events/")
DAT_EVENT = np.dtype([("t", "<u4"), ("place", "<u4")])
DAT_KINDS = (b"\x00\x08", b"\x0c\x08")  # 2D, and as an older one: 8 bytes each
OVERFLOW_Y, OVERFLOW_US = 240, 2**13


def read_events(path: Path) -> Events:
    """The events of a file with one of the endings in `READERS`.

    Raises:
        UserError: it is damaged or holds something else; or what reads it is not installed.
    """
    return READERS[path.suffix.lower()](path)


def checked(path: Path, x: np.ndarray, y: np.ndarray, p: np.ndarray, t: np.ndarray) -> Events:
    """Arrays of any types of numbers as events.

    Raises:
        UserError: they are no events.
    """
    columns = {"x": x, "y": y, "polarities": p, "times": t}
    sizes = {name: np.shape(column) for name, column in columns.items()}
    if any(len(size) != 1 for size in sizes.values()) or len(set(sizes.values())) != 1:
        shown = ", ".join(f"{' x '.join(map(str, size))} {name}" for name, size in sizes.items())
        raise UserError(f"{path} is damaged: expected as many x, y, polarities and times, got {shown}")
    if not len(x):
        raise UserError(f"{path} holds no events")
    whole = {name: _whole(path, name, column) for name, column in columns.items()}
    polarity = whole["polarities"]
    if not np.isin(polarity, (-1, 0, 1)).all() or (polarity == -1).any() and (polarity == 0).any():
        raise UserError(f"{path}: expected polarities 0 and 1, or -1 and 1, got {', '.join(map(str, np.unique(polarity)[:5]))}")
    for name in "xy":
        if (outside := (whole[name] < 0) | (whole[name] >= LARGEST_SIDE)).any():
            at = whole[name][np.argmax(outside)]
            raise UserError(f"{path} is damaged: expected pixels from 0 to {LARGEST_SIDE - 1}, got one at {name} {at}")
    return Events(whole["x"], whole["y"], (polarity > 0).astype(np.int64), whole["times"])


def read_bin(path: Path, at_most: int = LARGEST_FILE) -> Events:
    """A .bin file of N-MNIST and N-Caltech101: events of 5 bytes, x, y, and a big-endian word with the polarity and the microseconds.

    An event with y = 240 is none, but says that the clock has overflowed: all that follow are 8,192 us later.

    Raises:
        UserError: it is damaged, holds no events, or more than `at_most` bytes.
    """
    content = np.frombuffer(read_bounded(path, at_most), np.uint8)
    if content.size == 0 or content.size % 5:
        raise UserError(f"{path} is truncated or damaged: expected events of 5 bytes, got {content.size} bytes")
    x, y, high, middle, low = content.reshape(-1, 5).T.astype(np.int64)
    is_overflow = y == OVERFLOW_Y
    time = ((high & 127) << 16 | middle << 8 | low) + OVERFLOW_US * np.cumsum(is_overflow)
    x, y, polarity, time = (values[~is_overflow] for values in (x, y, high >> 7, time))
    if x.size == 0:
        raise UserError(f"{path} holds no events")
    return Events(x, y, polarity, time)


def _read_npy(path: Path) -> Events:
    return _from_structured(path, npy_files.read_npy(path, LARGEST_FILE))


def _read_npz(path: Path) -> Events:
    arrays = npy_files.read_npz(path, LARGEST_FILE)
    (only, *others) = arrays.values() or [None]
    if only is not None and not others and only.dtype.names:
        return _from_structured(path, only)
    return _from_columns(path, arrays, arrays.__getitem__)


def _read_hdf5(path: Path) -> Events:
    with hdf5_files.opened(path) as file:
        for place in HDF5_PLACES:
            whole = hdf5_files.find(file, path, place.rstrip("/")) if place else None
            if whole is not None and whole.dtype.names:
                return _from_structured(path, hdf5_files.read(whole, path, LARGEST_FILE))
            names = [name for aliases in FIELDS.values() for name in aliases]
            found = {name: dataset for name in names if (dataset := hdf5_files.find(file, path, place + name)) is not None}
            if found:
                return _from_columns(path, found, lambda name, found=found: hdf5_files.read(found[name], path, LARGEST_FILE))
        raise UserError(f"{path} holds no events: expected arrays x, y, t and p at its top, in events or in CD/events")


def _read_dat(path: Path) -> Events:
    """Prophesee's: lines with a % at the front, two bytes for the kind and the size of an event, then 8 bytes for each."""
    content = read_bounded(path, LARGEST_FILE)
    start, sides = 0, {}
    while content[start : start + 1] == b"%":
        end = content.find(b"\n", start) + 1 or len(content)
        if said := re.fullmatch(rb"% (Width|Height) (\d{1,5})\s*", content[start:end]):
            sides[said[1]] = int(said[2])
        start = end
    if content[start : start + 2] not in DAT_KINDS or (len(content) - start - 2) % DAT_EVENT.itemsize:
        raise UserError(
            f"{path} is truncated, damaged or no .dat of Prophesee: expected its head and events of {DAT_EVENT.itemsize} bytes"
        )
    events = np.frombuffer(content, DAT_EVENT, offset=start + 2)
    place = events["place"]
    columns = checked(path, place & 0x3FFF, place >> 14 & 0x3FFF, place >> 28 & 1, events["t"])
    if len(sides) < 2:
        return columns
    sensor = sides[b"Width"], sides[b"Height"]
    check_inside(columns, sensor, str(path))
    return dataclasses.replace(columns, sensor=sensor)


def _from_structured(path: Path, array: np.ndarray) -> Events:
    if not array.dtype.names:
        raise UserError(f"{path}: expected a structured array with fields x, y, t and p, got one of {array.dtype} {array.shape}")
    return _from_columns(path, array.dtype.names, lambda name: array[name])


def _from_columns(path: Path, names: Iterable[str], column: Callable[[str], Any]) -> Events:
    by_lower = {name.lower(): name for name in names}
    found = {field: next((by_lower[alias] for alias in aliases if alias in by_lower), None) for field, aliases in FIELDS.items()}
    missing = [field for field, name in found.items() if name is None]
    if missing:
        holds = shortened(", ".join(sorted(by_lower)) or "none", 100)
        raise UserError(f"{path}: expected arrays or fields x, y, t and p, found no {' and no '.join(missing)} among {holds}")
    x, y, p, t = (column(found[field]) for field in "xypt")
    return checked(path, x, y, p, t)


def _whole(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    """An array of numbers as int64."""
    if column.dtype.kind not in "biuf":
        raise UserError(f"{path}: expected {name} that are numbers, got {column.dtype}")
    if column.dtype.kind == "f":
        column = column.astype(np.float64)
        wrong = ~(np.isfinite(column) & (column == np.floor(column)))
        if wrong.any():
            hint = ", in microseconds" if name == "times" else ""
            raise UserError(f"{path}: expected {name} that are whole numbers{hint}, got {column[np.argmax(wrong)]:g}")
    if column.dtype.itemsize == 8 and ((column > LARGEST_NUMBER) | (column < -LARGEST_NUMBER)).any():
        raise UserError(f"{path}: expected {name} below 2^62, got larger ones")
    return column.astype(np.int64)


READERS: dict[str, Callable[[Path], Events]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".bin": read_bin,
    ".dat": _read_dat,
}
