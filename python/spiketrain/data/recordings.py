"""Recordings decoded once: binned, and kept in the cache folder as sparse events for the next run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from spiketrain.data import sparse_events
from spiketrain.data.checks import checked_labels
from spiketrain.data.decoded import copy_of
from spiketrain.data.sparse_events import Binning, Events, EventSplit
from spiketrain.errors import UserError

Arrays = dict[str, np.ndarray]
MOST_THREADS = 4  # each holds a whole recording


def of_files(
    data_set: str,
    folder: Path,
    part: str,
    files: list[Path],
    binning: Binning,
    read: Callable[[Path], Events],
    modules: tuple[str, ...],
) -> tuple[Arrays, Binning]:
    """A part of a data set with a file for each recording.

    Args:
        folder: all files are below it
        binning: its sensor may be unknown: then it is the smallest that holds all events
        read: runs in several threads
        modules: names of those whose code reads the files

    Returns:
        What `split` takes, and the binning with its sensor.
    """

    def decode() -> Arrays:
        known = binning if binning.sensor is not None else _with_smallest_sensor(binning, files, read, f"{folder}, {part}")
        arrays = joined(_in_threads(lambda path: known.bin(read(path), str(path)), files))
        return {**arrays, "sensor": np.array(known.sensor)}

    copy = copy_of(data_set, files, folder, part, (__name__, sparse_events.__name__, *modules), binning)
    arrays = copy.read(memory_map=True)
    if arrays is None or not is_whole(arrays, len(files)) or np.shape(arrays.get("sensor")) != (2,):
        arrays = decode()
        copy.write(**arrays)
    width, height = arrays["sensor"].tolist()
    return arrays, binning.of_sensor(width, height)


def joined(samples: Iterable[tuple[np.ndarray, np.ndarray]]) -> Arrays:
    """What `Binning.bin` makes of all recordings, one after the other."""
    spikes, counts = zip(*samples)
    start = np.cumsum([0, *map(len, spikes)])
    together = np.concatenate(counts)
    smallest = np.uint8 if together.max(initial=0) <= np.iinfo(np.uint8).max else np.int32
    return {"spikes": np.concatenate(spikes), "counts": together.astype(smallest), "start": start}


def is_whole(arrays: Arrays, samples: int) -> bool:
    """Whether arrays out of the cache are those of `joined`, for so many samples."""
    if not {"spikes", "counts", "start"} <= set(arrays) or len(arrays["start"]) != samples + 1:
        return False
    return arrays["start"][-1] == len(arrays["spikes"]) == len(arrays["counts"])


def split(
    arrays: Arrays, labels: list[int] | np.ndarray, classes: int, binning: Binning, with_counts: bool, where: str
) -> EventSplit:
    """The samples as a batch is cut from them. `where` names them in errors.

    Args:
        with_counts: whether a place of a batch holds how many events there are; else 1 for any
    """
    spikes, counts, start = (torch.from_numpy(arrays[name]) for name in ("spikes", "counts", "start"))
    checked = checked_labels(labels, len(start) - 1, 0, classes - 1, where)
    cut = {"kind": "events", "counts": with_counts, "binning": binning.to_dict()}
    return EventSplit(spikes, start, checked, binning.time_steps, binning.shape, counts if with_counts else None, cut)


def _with_smallest_sensor(binning: Binning, files: list[Path], read: Callable[[Path], Events], where: str) -> Binning:
    """The binning with the sensor that a file names, else the smallest one that holds the events of all."""

    def sides(path: Path) -> tuple[tuple[int, int] | None, int, int]:
        events = read(path)
        return events.sensor, int(events.x.max()) + 1, int(events.y.max()) + 1

    said, widths, heights = zip(*_in_threads(sides, files))
    try:
        return binning.of_sensor(*next(filter(None, said), (max(widths), max(heights))))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _in_threads(of_file: Callable, files: list[Path]) -> list:
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:  # NumPy sorts without holding Python's lock
        return list(threads.map(of_file, files))
