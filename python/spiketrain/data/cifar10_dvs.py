"""CIFAR10-DVS (Li et al. 2017): CIFAR-10 images that move in front of an event camera, in the original AEDAT 2.0 files.

ROOT/CIFAR10-DVS/airplane/cifar10_airplane_0.aedat to ROOT/CIFAR10-DVS/truck/cifar10_truck_999.aedat (ROOT itself may also
hold the ten folders): unpack there the ten zip files of https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671.
Files 0 to 899 of each class are for training, the others for testing.

After a header of lines that begin with ``#``, an event is two big-endian words of 32 bits: the address (bit 0 polarity, bits
1 to 7 x, bits 8 to 14 y) and the time in microseconds, in the order of time. The events are cut into 30 frames with the same
number of events each, the rest in the last, and counted per pixel; as in the published reader, other bits of an address are
not looked at, and a file that ends within an event is refused. What the published SPIDE code then does to the counts is
odd, and is followed here (see `picture`), because its accuracies were reached with it.
"""

from __future__ import annotations

import copy
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, Split, crop_and_flip
from spiketrain.data.decoded import copy_of, decode_once
from spiketrain.data.listing import list_files, read_bounded
from spiketrain.errors import UserError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FRAMES = 30
SENSOR = 128  # pixels on a side
TRAINING_FILES = 900  # of each class
LARGEST_FILE = 2**28  # bytes; the largest recordings have some millions


class FrameSplit(Split):
    """Frames kept as uint8 (N, frames, 2, side, side), of which a batch holds the first `time_steps`, divided by 255."""

    def __init__(self, frames: Tensor, labels: Tensor, time_steps: int, augment: bool) -> None:
        self.frames = frames
        self.labels = labels
        self.time_steps = time_steps
        self.augment = augment

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        frames = self.frames[index, : self.time_steps]
        if self.augment and generator is not None:
            # All frames of a sample are cropped alike: here they are channels of one image.
            frames = crop_and_flip(frames.flatten(1, 2), generator, flip=False).view_as(frames)
        return frames.transpose(0, 1).float() / 255

    def preprocessing(self) -> dict[str, Any]:
        return {"kind": "frames", "side": self.frames.shape[-1], "time_steps": self.time_steps}

    def select(self, index: Tensor) -> FrameSplit:
        part = copy.copy(self)
        part.frames, part.labels = self.frames[index], self.labels[index]
        return part


def load(name: str, root: Path, config: Config) -> Dataset:
    if config.network.time_steps > FRAMES:
        raise UserError(f"field network.time_steps: {name} has {FRAMES} frames, got {config.network.time_steps}")
    side = config.data.image_size
    folder = next((place for place in (root / "CIFAR10-DVS", root / "CIFAR10DVS", root) if (place / CLASSES[0]).is_dir()), None)
    if folder is None:
        raise UserError(
            f"data set not found: no folder {root / 'CIFAR10-DVS' / CLASSES[0]}. Unpack the ten zip files of CIFAR10-DVS (figshare 4724671) there, or point --data.root at them"
        )
    files = [_files(folder / label) for label in CLASSES]

    def split(is_training: bool, augment: bool) -> FrameSplit:
        chosen = [[path for number, path in of_class if (number < TRAINING_FILES) == is_training] for of_class in files]
        if not any(chosen):
            kind = f"below {TRAINING_FILES}, for training" if is_training else f"from {TRAINING_FILES} on, for testing"
            raise UserError(f"data set not found: {folder} has no files with numbers {kind}")
        labels = torch.tensor([label for label, paths in enumerate(chosen) for _ in paths])
        paths = [path for paths in chosen for path in paths]
        copy = copy_of(name, paths, folder, "train" if is_training else "test", (__name__,), side)
        frames = decode_once(copy, paths, (FRAMES, 2, side, side), partial(decode, side=side), memory_map=True)
        return FrameSplit(frames, labels, config.network.time_steps, augment)

    return Dataset(name, split(True, config.data.augment), split(False, False), (2, side, side), len(CLASSES))


def blank(name: str, config: Config) -> Dataset:
    """The data set without a sample."""
    side = config.data.image_size
    frames = torch.zeros(0, FRAMES, 2, side, side, dtype=torch.uint8)
    split = FrameSplit(frames, torch.zeros(0, dtype=torch.int64), config.network.time_steps, False)
    return Dataset(name, split, split, (2, side, side), len(CLASSES))


def read_events(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Column, row and polarity channel of every event of an .aedat file, in the order of time.

    As in the published code columns run against the sensor's x, and channel 0 holds the events whose polarity bit is set.
    """
    content = read_bounded(path, LARGEST_FILE)
    version, _, _ = content.partition(b"\n")
    header = 0
    while content[header : header + 1] == b"#":
        header = content.find(b"\n", header) + 1 or len(content)
    content = content[header:]
    if version.startswith(b"#!AER-DAT") and not version.startswith(b"#!AER-DAT2"):
        raise UserError(
            f"{path} is of another format: expected #!AER-DAT2.0, got {version[:40].strip().decode('ascii', 'replace')}"
        )
    if not content or len(content) % 8:
        raise UserError(f"{path} is truncated or damaged: expected events of 8 bytes after the header, got {len(content)} bytes")
    address = np.frombuffer(content, ">u4")[::2].astype(np.int64)
    # The sensor's addresses have 16 bits. Special ones may have more, and a file of nothing but such ones is no recording.
    if np.count_nonzero(address >> 16) > len(address) // 2:
        raise UserError(f"{path} is damaged or no recording of a sensor of {SENSOR} x {SENSOR} pixels")
    return SENSOR - 1 - (address >> 1 & 127), address >> 8 & 127, 1 - (address & 1)


def count_events(path: Path) -> np.ndarray:
    """Events of a file per frame, channel, row and column, as int64 (30, 2, 128, 128)."""
    column, row, channel = read_events(path)
    per_frame = len(row) // FRAMES
    last = np.full(len(row), FRAMES - 1)
    frame = np.minimum(np.arange(len(row)) // per_frame, last) if per_frame else last
    place = ((frame * 2 + channel) * SENSOR + row) * SENSOR + column
    return np.bincount(place, minlength=FRAMES * 2 * SENSOR**2).reshape(FRAMES, 2, SENSOR, SENSOR)


def picture(counts: np.ndarray, side: int) -> np.ndarray:
    """Event counts (2, 128, 128) of a frame as the published code makes a small picture of them: bytes (2, side, side).

    It multiplies the counts by 255 and casts to bytes, so that 0 becomes 0, 1 becomes 255, 2 becomes 254. And Pillow takes the
    two channels for brightness and opacity: when it shrinks the picture, it averages channel 0 with channel 1 as the weight,
    so that events of channel 0 are lost where channel 1 has none nearby.
    """
    from PIL import Image

    image = Image.fromarray((counts * 255 % 256).astype(np.uint8).transpose(1, 2, 0).copy())
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def decode(path: Path, side: int) -> np.ndarray:
    """The pictures of all frames (30, 2, side, side)."""
    return np.stack([picture(counts, side) for counts in count_events(path)])


def _files(folder: Path) -> list[tuple[int, Path]]:
    """The recordings of a class by their numbers."""
    if not folder.is_dir():
        raise UserError(f"data set not found: no folder {folder}")
    listing = list_files(folder, (".aedat",))
    numbers = {path: re.fullmatch(r".*_(\d{1,9})", path.stem) for path in listing.files}
    listing.leave_out((path for path, match in numbers.items() if not match), "without a number at the end of the name")
    numbered = [(int(match[1]), path) for path, match in numbers.items() if match]
    listing.say_what_was_left_out()
    if not numbered:
        raise UserError(f"data set not found: no files {folder}/cifar10_{folder.name}_0.aedat and so on")
    return sorted(numbered)
