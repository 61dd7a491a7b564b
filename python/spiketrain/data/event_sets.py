"""Recordings of event cameras and of an artificial cochlea: one adapter for the published data sets and for one's own.

| data set | files, below ROOT |
|---|---|
| ``shd``, ``ssc`` (Cramer et al. 2020) | ``SHD/shd_train.h5``, ``shd_test.h5``; ``SSC/ssc_train.h5``, ``ssc_test.h5`` |
| ``dvs-gesture`` (Amir et al. 2017) | ``DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy``, ``ibmGestureTest/...``, as tonic cuts it |
| ``ncaltech101`` (Orchard et al. 2015) | ``NCALTECH101/Caltech101/CLASS/image_0001.bin`` |
| ``events`` | ``train/CLASS/**``, ``test/CLASS/**``, one's own, in the formats of `event_files` |

The folders are those of tonic, which fetches the first four (`tonic_sets`); the first one may be left out. N-Caltech101 has no test part
of its own: each fifth recording of a class is for testing. How events become time steps is in `sparse_events`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np

from spiketrain.config import Config, DataConfig
from spiketrain.data import cochlea, event_files, hdf5_files, npy_files, recordings, tonic_sets
from spiketrain.data.base import Dataset
from spiketrain.data.class_folders import ClassFolders, check_no_empty_class, class_of, list_of_classes
from spiketrain.data.listing import list_files
from spiketrain.data.sparse_events import Binning, Events
from spiketrain.errors import UserError

MODULES = tuple(module.__name__ for module in (event_files, hdf5_files, npy_files))
GESTURES = 11
SENSORS = {"shd": (cochlea.CHANNELS, 1), "ssc": (cochlea.CHANNELS, 1), "dvs-gesture": (128, 128), "ncaltech101": (240, 180)}
PLACES = {
    "shd": ("shd_train.h5", "shd_test.h5"),
    "ssc": ("ssc_train.h5", "ssc_test.h5"),
    "dvs-gesture": ("ibmGestureTrain", "ibmGestureTest"),
    "ncaltech101": ("Caltech101",),
}
TESTED = 5  # of N-Caltech101 each fifth recording
Parts = dict[str, tuple[list[Path], list[int]]]


def load(name: str, root: Path, config: Config) -> Dataset:
    binning = _binning(name, config)
    if name in cochlea.CLASSES:
        return _words(name, _folder(name, root, config), binning, config)
    if name == "events":
        folders = ClassFolders(root, tuple(event_files.READERS), "recording", f"*{', *'.join(event_files.READERS)}")
        parts = {part: (folders.files[part], folders.labels[part]) for part in folders.files}
        return _recordings(name, root, parts, folders.classes, len(folders.classes), binning, config)
    folder = _folder(name, root, config)
    if name == "dvs-gesture":
        parts = {"train": _gestures(folder / "ibmGestureTrain"), "test": _gestures(folder / "ibmGestureTest")}
        return _recordings(name, folder, parts, None, GESTURES, binning, config)
    parts, classes = _caltech(folder / "Caltech101")
    return _recordings(name, folder, parts, classes, len(classes), binning, config)


def blank(name: str, config: Config) -> Dataset | None:
    """The data set without a sample; None where its files say what its classes or its sensor are."""
    classes = {**cochlea.CLASSES, "dvs-gesture": GESTURES}.get(name)
    if classes is None:
        return None
    binning = _binning(name, config)
    arrays = {"spikes": np.zeros(0, np.int32), "counts": np.zeros(0, np.int32), "start": np.zeros(1, np.int64)}
    split = recordings.split(arrays, [], classes, binning, config.data.counts, name)
    return Dataset(name, split, split, binning.shape, classes)


def _binning(name: str, config: Config) -> Binning:
    data = config.data
    if (data.bin_ms, data.empty_last_step) != (DataConfig.bin_ms, DataConfig.empty_last_step):
        raise UserError(
            f"data.bin_ms, data.empty_last_step: are for nmnist; time steps of {name} are data.duration_ms / network.time_steps long"
        )
    if data.sensor is not None and name != "events":
        raise UserError(f"field data.sensor: is for events; that of {name} has {SENSORS[name][0]} x {SENSORS[name][1]} pixels")
    is_cochlea = name in cochlea.CLASSES
    if data.merge_polarities and is_cochlea:
        raise UserError(f"field data.merge_polarities: {name} has no polarities")
    duration_ms = data.duration_ms or (cochlea.DURATION_MS if is_cochlea else None)
    return Binning(
        time_steps=config.network.time_steps,
        sensor=SENSORS.get(name, data.sensor),
        polarities=1 if is_cochlea else 2,
        by_count=data.cut == "count",
        duration_us=None if duration_ms is None else round(1000 * duration_ms, 3),  # 1.1 ms are 1100 us and no more
        from_first=not is_cochlea,
        crop=data.crop,
        downsample=data.downsample,
        merge=data.merge_polarities,
    )


def _folder(name: str, root: Path, config: Config) -> Path:
    """The folder with all parts of a published data set, which is fetched where that is asked for."""
    title, places = tonic_sets.CLASSES[name][0], PLACES[name]
    for folder in (root / title, root):
        if all(os.path.lexists(folder / place) for place in places):
            return folder
    if config.data.download:
        tonic_sets.download(name, root)
        return root / title
    here = root / title if (root / title).is_dir() else root
    missing = next(place for place in places if not os.path.lexists(here / place))
    raise UserError(
        f"data set not found: no {missing}, unpacked, in {here}. Point --data.root at the data, or add --data.download true"
    )


def _words(name: str, folder: Path, binning: Binning, config: Config) -> Dataset:
    splits, names = [], None
    for place in PLACES[name]:
        arrays, names = cochlea.of_file(name, folder / place, binning)
        where = f"{folder / place}, labels"
        splits.append(recordings.split(arrays, arrays["labels"], cochlea.CLASSES[name], binning, config.data.counts, where))
    return Dataset(name, *splits, binning.shape, cochlea.CLASSES[name], class_names=names)


def _recordings(
    name: str, folder: Path, parts: Parts, class_names: tuple[str, ...] | None, classes: int, binning: Binning, config: Config
) -> Dataset:
    """A data set with a file for each recording. A sensor that is not known yet is found in the training part."""
    read = {"dvs-gesture": read_gesture}.get(name, event_files.read_events)
    splits = []
    for part, (files, labels) in parts.items():
        arrays, binning = recordings.of_files(name, folder, part, files, binning, read, (__name__, *MODULES))
        splits.append(recordings.split(arrays, labels, classes, binning, config.data.counts, f"{folder}, {part}"))
    return Dataset(name, *splits, binning.shape, classes, class_names=class_names)


def _gestures(folder: Path) -> tuple[list[Path], list[int]]:
    """user01_fluorescent/0.npy and so on, named by their classes."""
    listing = list_files(folder, (".npy",))
    numbers = {str(number): number for number in range(GESTURES)}
    strays = [path for path in listing.files if path.stem not in numbers or path.parent == folder]
    listing.leave_out(strays, f"not named as a gesture, user01_fluorescent/0.npy to {GESTURES - 1}.npy")
    listing.say_what_was_left_out()
    if not listing.files:
        raise UserError(f"data set not found: no files {folder}/user01_fluorescent/0.npy and so on")
    return listing.files, [numbers[path.stem] for path in listing.files]


def read_gesture(path: Path) -> Events:
    """Rows of x, y, polarity and milliseconds."""
    rows = npy_files.read_npy(path, event_files.LARGEST_FILE)
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.names:
        raise UserError(f"{path} is damaged: expected rows of x, y, polarity and time, got an array of {rows.dtype} {rows.shape}")
    events = event_files.checked(path, *rows.T)
    if abs(events.time).max() > event_files.LARGEST_NUMBER // 1000:
        raise UserError(f"{path} is damaged: it has times that are no milliseconds")
    return Events(events.x, events.y, events.polarity, 1000 * events.time)


def _caltech(folder: Path) -> tuple[Parts, tuple[str, ...]]:
    """Both parts, and the names of the classes."""
    listing = list_of_classes(folder, (".bin",), "recording", "image_0001.bin")
    of_class = defaultdict(list)
    for path in listing.files:
        of_class[class_of(path, listing)].append(path)
    check_no_empty_class(folder, of_class, "recording")
    parts: Parts = {"train": ([], []), "test": ([], [])}
    for label, name in enumerate(sorted(of_class)):
        for i, path in enumerate(of_class[name]):
            files, labels = parts["test" if i % TESTED == TESTED - 1 else "train"]
            files.append(path)
            labels.append(label)
    for part, (files, _) in parts.items():
        if not files:
            raise UserError(
                f"{folder} holds no recordings for the {part} part, which are {TESTED - 1} of {TESTED} of each class or the rest"
            )
    return parts, tuple(sorted(of_class))
