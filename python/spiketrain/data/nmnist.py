"""N-MNIST (Orchard et al. 2015): MNIST digits seen by a moving event camera, in the original .bin files or as published text.

ROOT/N-MNIST/Train/3/00012.bin and so on (ROOT itself may also hold Train and Test). An event is 5 bytes: x, y, then a
big-endian word of 24 bits whose top bit is the polarity (1: brighter) and whose other 23 bits are the time in
microseconds. An event with y = 240 is none, but says that the clock has overflowed: all that follow are 8,192 us later.
The events are binned into time steps: a spike where at least one event fell, in 2 polarities x 34 x 34
pixels. As in the published TSSL-BP experiments, the drift of the three camera movements is first taken out. The published readers leave the
last time step empty; here that is an option, `data.empty_last_step`, which the presets use.

The published preprocessing makes .dat files of them, which are read as well: see `nmnist_text`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data import event_files, nmnist_text
from spiketrain.data.base import Dataset
from spiketrain.data.checks import checked_labels
from spiketrain.data.decoded import copy_of
from spiketrain.data.event_files import read_bin
from spiketrain.data.listing import list_files
from spiketrain.data.sparse_events import EventSplit, check_inside
from spiketrain.errors import UserError

SIDE = 34
SHAPE = (2, SIDE, SIDE)
PIXELS = 2 * SIDE * SIDE
CLASSES = 10
LARGEST_FILE = 2**26  # bytes; a recording has some 20,000
MODULES = (__name__, nmnist_text.__name__, event_files.__name__)
SACCADE_US = 105_000  # duration of each of the three camera movements


def load(name: str, root: Path, config: Config) -> Dataset:
    steps, bin_us = config.network.time_steps, config.data.bin_ms * 1000
    if steps * PIXELS >= 2**31:
        raise UserError(f"field network.time_steps: {name} can be cut into at most {2**31 // PIXELS} time steps, got {steps}")
    kept = steps - config.data.empty_last_step
    folder = _find(root, bin_us)
    files = {part: _recordings(folder, part) for part in ("Train", "Test")}
    kinds = {part: next(iter(files[part])).suffix.lower() for part in files}
    if kinds["Train"] != kinds["Test"]:
        raise UserError(f"{folder}: expected files of one kind, got {kinds['Train']} in Train and {kinds['Test']} in Test")
    train, test = (_split(folder, part, files[part], steps, kept, bin_us) for part in ("Train", "Test"))
    return Dataset(name, train, test, SHAPE, CLASSES)


def blank(name: str, config: Config) -> Dataset:
    """The data set without a sample."""
    steps, arrays = config.network.time_steps, {"spikes": np.zeros(0, np.int32), "start": np.zeros(1, np.int64)}
    split = of_arrays(
        arrays, torch.zeros(0, dtype=torch.int64), steps, steps - config.data.empty_last_step, config.data.bin_ms * 1000
    )
    return Dataset(name, split, split, SHAPE, CLASSES)


def read_events(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, polarity (0 or 1) and time in microseconds of every event of a .bin file."""
    events = read_bin(path, LARGEST_FILE)
    check_inside(events, (SIDE, SIDE), str(path))
    return events.x, events.y, events.polarity, events.time


def stabilise(x: np.ndarray, y: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions with the camera's drift taken out: 3.5 pixels in x and 7 in y, over a triangle of three movements."""
    phase = time / SACCADE_US
    x_drift = np.where(phase <= 2, -3.5 * phase, -7 + 7 * (phase - 2))
    y_drift = np.where(phase <= 1, -7 * phase, np.where(phase <= 2, -7 + 7 * (phase - 1), 0))
    return np.floor(x + x_drift + 0.5).astype(np.int64), np.floor(y + y_drift + 0.5).astype(np.int64)


def bin_events(path: Path, time_steps: int, bin_us: float) -> np.ndarray:
    """Sorted, distinct step * 2312 + pixel of the events of a file, as int32. Step k holds the times in (k, k + 1] bins."""
    x, y, polarity, time = read_events(path)
    x, y = stabilise(x, y, time)
    with np.errstate(over="ignore"):
        # Cut before the cast: int64 does not hold the steps of very small bins.
        step = np.clip(np.ceil(time / bin_us) - 1, 0, time_steps).astype(np.int64)
    kept = (step < time_steps) & (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    return np.unique((step * PIXELS + (polarity * SIDE + y) * SIDE + x)[kept]).astype(np.int32)


def _find(root: Path, bin_us: float) -> Path:
    """The folder that holds the parts Train and Test."""
    places = [place for place in (root / "N-MNIST", root / "NMNIST", root) if place.is_dir()]
    for place in places:
        if (place / "Train").is_dir():
            nmnist_text.check_width(place.resolve(), bin_us)  # may be the very folder of text files
            return place
    converted = [path for place in places for path in sorted(place.glob(nmnist_text.FOLDER)) if path.is_dir()]
    for path in converted:
        if nmnist_text.width(path) == bin_us:
            return path
    if converted:
        nmnist_text.check_width(converted[0], bin_us)
    for place in places:
        if nmnist_text.files_of_classes(place, "Train"):
            return place
    raise UserError(
        f"data set not found: no folder {root / 'N-MNIST' / 'Train'}. Unpack Train.zip and Test.zip of N-MNIST there, or point --data.root at them"
    )


def _recordings(folder: Path, part: str) -> dict[Path, int]:
    """The files of a part, .bin or else .dat, with their labels; -1 for those of whole classes."""
    if not (folder / part).is_dir():
        files = dict.fromkeys(nmnist_text.files_of_classes(folder, part), -1)
        if not files:
            raise UserError(f"data set not found: no folder {folder / part}")
        return files
    listing = list_files(folder / part, (".bin", ".dat"))
    below = {path: path.relative_to(folder / part).parts for path in listing.files}
    strays = (path for path, parts in below.items() if not (len(parts) > 1 and re.fullmatch("[0-9]", parts[0])))
    listing.leave_out(strays, "in no folder 0 to 9")
    kind, other = (".bin", ".dat") if any(path.suffix.lower() == ".bin" for path in listing.files) else (".dat", ".bin")
    listing.leave_out((path for path in listing.files if path.suffix.lower() == other), f"ending in {other}")
    labels = {path: int(below[path][0]) for path in listing.files}
    listing.say_what_was_left_out()
    if not labels:
        raise UserError(f"data set not found: no files {folder / part}/0/*.bin to {folder / part}/9/*.bin (or .dat)")
    return labels


def _split(folder: Path, part: str, files: dict[Path, int], time_steps: int, kept: int, bin_us: float) -> EventSplit:
    copy = copy_of("nmnist", list(files), folder, part, MODULES, time_steps, kept, bin_us)
    arrays = copy.read()
    if arrays is None or set(arrays) != {"spikes", "start", "labels", "steps"}:
        arrays = binned(files, kept, bin_us)
        copy.write(**arrays)
    if arrays["steps"] and nmnist_text.width(folder) is None:
        nmnist_text.say_if_implausible(folder, part, int(arrays["steps"]), bin_us)
    labels = checked_labels(arrays["labels"], len(arrays["start"]) - 1, 0, CLASSES - 1, str(folder / part))
    return of_arrays(arrays, labels, time_steps, kept, bin_us)


def of_arrays(arrays: dict[str, np.ndarray], labels: torch.Tensor, time_steps: int, kept: int, bin_us: float) -> EventSplit:
    """The samples as a batch is cut from them, of the arrays ``spikes`` and ``start``."""
    cut = {"kind": "nmnist", "time_steps": time_steps, "kept": kept, "bin_us": bin_us}
    return EventSplit(torch.from_numpy(arrays["spikes"]), torch.from_numpy(arrays["start"]), labels, time_steps, SHAPE, cut=cut)


def binned(files: dict[Path, int], kept: int, bin_us: float) -> dict[str, np.ndarray]:
    """What `EventSplit` needs, and the number of time steps in text files (0 for others)."""
    pieces, labels, longest = [], [], 0
    for path, label in files.items():
        if path.suffix.lower() == ".bin":
            pieces.append(bin_events(path, kept, bin_us))
            labels.append(label)
            continue
        for step, place in nmnist_text.read_samples(path, one=label >= 0):
            pieces.append(np.unique((step * PIXELS + place)[step < kept]).astype(np.int32))
            labels.append(label if label >= 0 else nmnist_text.label_of_class(path))
            longest = max(longest, int(step.max()) + 1)
    start = np.cumsum([0, *map(len, pieces)])
    return {"spikes": np.concatenate(pieces), "start": start, "labels": np.array(labels), "steps": np.array(longest)}
