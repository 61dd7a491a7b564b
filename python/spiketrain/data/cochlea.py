"""Spiking Heidelberg Digits and Spiking Speech Commands (Cramer et al. 2020): spoken words as spikes of 700 channels, in HDF5.

A file is a part: ``spikes/times`` (seconds) and ``spikes/units`` (channels) hold an array for each word, ``labels`` its class, and
``extra/keys`` what the classes are called. A word lasts 1.4 s at most, and time begins at 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spiketrain.data import hdf5_files, recordings, sparse_events
from spiketrain.data.checks import checked_labels
from spiketrain.data.decoded import copy_of
from spiketrain.data.recordings import Arrays
from spiketrain.data.sparse_events import Binning, Events
from spiketrain.errors import UserError

if TYPE_CHECKING:
    import h5py

CHANNELS = 700
CLASSES = {"shd": 20, "ssc": 35}
DURATION_MS = 1400.0
LONGEST_S = 1e6
LARGEST = 2**30  # bytes of labels or of names
CHUNK = 256  # words that are read at once
MODULES = (__name__, hdf5_files.__name__, recordings.__name__, sparse_events.__name__)


def of_file(name: str, path: Path, binning: Binning) -> tuple[Arrays, tuple[str, ...] | None]:
    """A part, as `recordings.split` takes it and with its ``labels``, and what the classes are called."""
    if not os.path.lexists(path):
        raise UserError(f"data set not found: no {path}, unpacked. Point --data.root at the data, or add --data.download true")
    copy = copy_of(name, [path], path.parent, path.stem, MODULES, binning)
    arrays = copy.read(memory_map=True)
    if arrays is None or not {"labels", "names"} <= set(arrays) or not recordings.is_whole(arrays, len(arrays["labels"])):
        arrays = _decode(name, path, binning)
        copy.write(**arrays)
    names = arrays["names"].tobytes().decode()
    return arrays, tuple(names.split("\n")) if names else None


def read_words(path: Path) -> list[Events]:
    """All words of a file, labels or none."""
    with hdf5_files.opened(path) as file:
        return list(_words(path, *_spikes(file, path)))


def _spikes(file: h5py.File, path: Path) -> tuple[h5py.Dataset, h5py.Dataset]:
    """Times and channels."""
    times, units = (_find(file, path, place) for place in ("spikes/times", "spikes/units"))
    if times.shape != units.shape or times.ndim != 1:
        raise UserError(
            f"{path} is damaged: expected one array of times and one of units for each word, got {times.shape} and {units.shape}"
        )
    return times, units


def _decode(name: str, path: Path, binning: Binning) -> Arrays:
    with hdf5_files.opened(path) as file:
        labels = _find(file, path, "labels")
        times, units = _spikes(file, path)
        said = hdf5_files.read(labels, path, LARGEST)
        checked = checked_labels(said, len(times), 0, CLASSES[name] - 1, f"{path}, labels").numpy()
        if not len(checked):
            raise UserError(f"{path} holds no words")
        samples = [binning.bin(events, f"{path}, word {i}") for i, events in enumerate(_words(path, times, units))]
        names = "\n".join(_class_names(file, path, CLASSES[name]))
    return {**recordings.joined(samples), "labels": checked, "names": np.frombuffer(names.encode(), np.uint8)}


def _find(file: h5py.File, path: Path, place: str) -> h5py.Dataset:
    found = hdf5_files.find(file, path, place)
    if found is None:
        raise UserError(f"{path} holds no array {place}: expected spikes/times, spikes/units and labels")
    return found


def _words(path: Path, times: h5py.Dataset, units: h5py.Dataset) -> Iterator[Events]:
    import h5py

    for dataset, kinds in ((times, "f"), (units, "iu")):
        of_word = h5py.check_vlen_dtype(dataset.dtype)
        if not isinstance(of_word, np.dtype) or of_word.kind not in kinds:
            raise UserError(
                f"{path}, {dataset.name}: expected arrays of numbers, one for each word, got {of_word or dataset.dtype}"
            )
    for first in range(0, len(times), CHUNK):
        for i, (t, x) in enumerate(zip(times[first : first + CHUNK], units[first : first + CHUNK]), first):
            if len(t) != len(x):
                raise UserError(f"{path} is damaged: word {i} has {len(t)} times and {len(x)} units")
            t = t.astype(np.float64)  # before anything is reckoned: they are kept as float16
            if not ((t >= 0) & (t < LONGEST_S)).all():
                raise UserError(f"{path} is damaged: word {i} has times that are no seconds")
            x = x.astype(np.int64)
            yield Events(x, np.zeros_like(x), np.ones_like(x), np.floor(t * 1e6).astype(np.int64))


def _class_names(file: h5py.File, path: Path, classes: int) -> list[str]:
    """What the file calls the classes; nothing where it does not say."""
    dataset = hdf5_files.find(file, path, "extra/keys")
    if dataset is None:
        return []
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None or dataset.shape != (classes,):
        raise UserError(
            f"{path} is damaged: expected names of {classes} classes in extra/keys, got {dataset.dtype} {dataset.shape}"
        )
    names = [key.decode("utf-8", "replace").strip("\0") for key in dataset[()]]
    return [" ".join(name.split()) for name in names]
