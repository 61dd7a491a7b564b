"""N-MNIST (Orchard et al. 2015): MNIST digits seen by a moving event camera, in the original .bin files.

ROOT/N-MNIST/Train/3/00012.bin and so on (ROOT itself may also hold Train and Test). An event is 5 bytes: x, y, then a
big-endian word of 24 bits whose top bit is the polarity (1: brighter) and whose other 23 bits are the time in
microseconds. The events are binned into time steps: a spike where at least one event fell, in 2 polarities x 34 x 34
pixels. As in the published TSSL-BP experiments, the drift of the three camera movements is first taken out. Unlike there, the last
time step has its events: the published reader leaves it empty.
"""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, Split
from spiketrain.errors import UserError
from spiketrain.files import write_atomically

SIDE = 34
SHAPE = (2, SIDE, SIDE)
PIXELS = 2 * SIDE * SIDE
SACCADE_US = 105_000  # duration of each of the three camera movements


class EventSplit(Split):
    """Binned events: `spikes` holds step * 2312 + pixel for every spike, sample i from `start[i]` to `start[i + 1]`."""

    def __init__(self, spikes: Tensor, start: Tensor, labels: Tensor, time_steps: int) -> None:
        self.spikes = spikes
        self.start = start
        self.labels = labels
        self.time_steps = time_steps

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        first, last = self.start[index], self.start[index + 1]
        count = last - first
        sample = torch.repeat_interleave(torch.arange(len(index), device=index.device), count)
        position = torch.arange(len(sample), device=index.device) - torch.repeat_interleave(count.cumsum(0) - count - first, count)
        spike = self.spikes[position].long()
        dense = torch.zeros(self.time_steps, len(index), PIXELS, device=index.device)
        dense[spike // PIXELS, sample, spike % PIXELS] = 1.0
        return dense.view(self.time_steps, len(index), *SHAPE)

    def select(self, index: Tensor) -> EventSplit:
        part = copy.copy(self)
        pieces = [self.spikes[self.start[i] : self.start[i + 1]] for i in index.tolist()]
        part.spikes = torch.cat(pieces) if pieces else self.spikes[:0]
        part.start = torch.tensor([0, *map(len, pieces)]).cumsum(0)
        part.labels = self.labels[index]
        return part


def load(name: str, root: Path, config: Config) -> Dataset:
    folder = next((place for place in (root / "N-MNIST", root / "NMNIST", root) if (place / "Train").is_dir()), None)
    if folder is None:
        raise UserError(
            f"data set not found: no folder {root / 'N-MNIST' / 'Train'}. Unpack Train.zip and Test.zip of N-MNIST there, or point --data.root at them"
        )
    steps, bin_us = config.network.time_steps, config.data.bin_ms * 1000
    train, test = (_split(folder / part, steps, bin_us) for part in ("Train", "Test"))
    return Dataset(name, train, test, SHAPE, 10)


def read_events(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, y, polarity (0 or 1) and time in microseconds of every event of a .bin file."""
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % 5:
        raise UserError(f"{path} is truncated or damaged: expected events of 5 bytes, got {content.size} bytes")
    x, y, high, middle, low = content.reshape(-1, 5).T.astype(np.int64)
    return x, y, high >> 7, (high & 127) << 16 | middle << 8 | low


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
    step = np.maximum(np.ceil(time / bin_us).astype(np.int64) - 1, 0)
    kept = (step < time_steps) & (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    return np.unique((step * PIXELS + (polarity * SIDE + y) * SIDE + x)[kept]).astype(np.int32)


def _split(folder: Path, time_steps: int, bin_us: float) -> EventSplit:
    from spiketrain.data import cache_dir
    from spiketrain.data.decoded import cache_name

    files = sorted(folder.glob("[0-9]/*.bin"))
    if not files:
        raise UserError(f"data set not found: no files {folder}/0/*.bin to {folder}/9/*.bin")
    labels = torch.tensor([int(path.parent.name) for path in files])
    cached = cache_dir() / "nmnist" / f"{cache_name(files, folder.parent, __name__, time_steps, bin_us)}.npz"
    try:
        with np.load(cached, allow_pickle=False) as content:
            return EventSplit(torch.from_numpy(content["spikes"]), torch.from_numpy(content["start"]), labels, time_steps)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # not there yet, or damaged: read the files
    pieces = [bin_events(path, time_steps, bin_us) for path in files]
    spikes, start = np.concatenate(pieces), np.cumsum([0, *map(len, pieces)])
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, lambda file: np.savez(file, spikes=spikes, start=start))
    except OSError:
        pass  # no place for a cache: the next run reads the files again
    return EventSplit(torch.from_numpy(spikes), torch.from_numpy(start), labels, time_steps)
