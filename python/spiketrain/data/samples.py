"""Files that belong to no data set, read and cut into batches as those of the data set that a network was trained on.

| data set | files | taken |
|---|---|---|
| of pictures | what Pillow reads, see `pixels` | as they are; colours become their luma where the network has one channel; 8 bits become 17 grey levels for digits |
| imagefolder | likewise | resized as its own are |
| events, ncaltech101 | with the endings of `event_files` | cut into time steps as its own are |
| dvs-gesture | .npy, as tonic cuts them | likewise |
| shd, ssc | .h5; each word in a file is a sample | likewise |
| nmnist | .bin, .dat | likewise |
| cifar10_dvs | .aedat | likewise |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spiketrain.data import cifar10_dvs, cochlea, described, event_files, event_sets, imagefolder, nmnist, pixels, recordings
from spiketrain.data.base import Split
from spiketrain.data.cifar10_dvs import FrameSplit
from spiketrain.data.listing import list_files
from spiketrain.data.sparse_events import Binning
from spiketrain.errors import UserError, shortened

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_FILES = 1_000_000


@dataclass
class Samples:
    """What was read.

    Attributes:
        names: of the samples: paths, and within files of several the number of a sample
        split: the samples in their order; labels mean nothing
        done: what was done to files that are not as those of the data set, and to how many: the rest of a sentence on them
    """

    names: list[str]
    split: Split
    done: Counter[str] = field(default_factory=Counter)


def read(description: dict[str, Any], files: list[Path], resize: bool = False) -> Samples:
    """The samples in files.

    Args:
        description: of the data set (`Dataset.description`)
        files: of those that `found` finds
        resize: bring pictures of another size to that of the data set's (bilinear, without regard to proportions)

    Raises:
        UserError: a file is missing, damaged, of another kind or size.
    """
    kind = description["preprocessing"]["kind"]
    reader: Callable[..., Samples] = {"pictures": _pictures, "frames": _frames, "nmnist": _nmnist, "events": _events}[kind]
    try:
        return reader(files, description, resize)
    except OSError as error:
        raise UserError(shortened(f"cannot read a file: {error}")) from None
    except UserError as error:
        raise UserError(shortened(error)) from None


def found(description: dict[str, Any], paths: Iterable[Path | str]) -> list[Path]:
    """The files among the paths, and those that are read for the data set in the folders among them, in order.

    Raises:
        UserError: there are none, one is of another kind, or nothing is known of how the data set is read.
    """
    preprocessing, name = description["preprocessing"], description["data"]
    if preprocessing is None or preprocessing["kind"] == "points":
        what = "points, which are no files" if preprocessing else "what no file is read for"
        raise UserError(f"a network on {shortened(name, 60)} takes {what}: give tensors to spiketrain.load(RUN) in Python")
    suffixes = _suffixes(preprocessing["kind"], name)
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            listing = list_files(path, suffixes)
            listing.say_what_was_left_out()
            if not listing.files:
                raise UserError(shortened(f"{path} holds no files that are read for {name}: expected some {_shown(suffixes)}"))
            files += listing.files
        elif path.suffix.lower() not in suffixes:
            raise UserError(f"{shortened(path, 120)} is no file that is read for {name}: expected some {_shown(suffixes)}")
        else:
            files.append(path)
    if not files:
        raise UserError("there are no files to read")
    if len(files) > MOST_FILES:
        raise UserError(f"there are {len(files)} files: expected at most {MOST_FILES} at once")
    return files


def _suffixes(kind: str, name: str) -> frozenset[str]:
    if kind == "pictures":
        return pixels.suffixes()
    if kind == "frames":
        return frozenset({".aedat"})
    if kind == "nmnist":
        return frozenset({".bin", ".dat"})
    if name in cochlea.CLASSES:
        return frozenset({".h5", ".hdf5"})
    return frozenset({".npy"}) if name == "dvs-gesture" else frozenset(event_files.READERS)


def _shown(suffixes: frozenset[str]) -> str:
    common = [suffix for suffix in (".png", ".jpg", ".bmp", ".tif") if suffix in suffixes]
    return f"{', '.join(common)} and so on" if common else ", ".join(sorted(suffixes))


def _pictures(files: list[Path], description: dict[str, Any], resize: bool) -> Samples:
    shape, name, preprocessing = tuple(description["input_shape"]), description["data"], description["preprocessing"]
    done: Counter[str] = Counter()
    if name == "imagefolder":  # which resizes its own
        images = np.stack([imagefolder.decode(path, shape[1]) for path in files])
    else:
        images = np.stack([_picture(path, shape, name, preprocessing["white"], resize, done) for path in files])
    return Samples([str(path) for path in files], described.pictures(torch.from_numpy(images), preprocessing), done)


def _picture(path: Path, shape: tuple[int, ...], name: str, white: int, resize: bool, done: Counter[str]) -> np.ndarray:
    """uint8 (C, H, W), from 0 to `white`."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise UserError(f"the network takes inputs of {channels} channels, which no picture has")
    picture = pixels.read_picture(path)
    if picture.size != (width, height):
        if not resize:
            raise UserError(
                f"{shortened(path, 120)} has {picture.width} x {picture.height} pixels: expected {width} x {height}, as those of {name} (width x "
                "height). Bring it to that size, or add --resize (in Python resize=True)"
            )
        from PIL import Image

        done[f"pictures were resized to {width} x {height} pixels (bilinear)"] += 1
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    is_grey = _is_grey(picture)
    if channels == 1 and not is_grey:
        done["pictures have colours, of which their luma (ITU-R 601-2) is taken"] += 1
    elif channels == 3 and is_grey:
        done["pictures are grey: red, green and blue are taken to be equal"] += 1
    values = np.asarray(picture.convert("L") if channels == 1 else picture)
    values = values[None] if channels == 1 else values.transpose(2, 0, 1)
    if white == 255:
        return values
    done[f"pictures have their brightness from 0 to 255 taken for 0 to {white}, as that of {name}"] += 1
    return ((values.astype(np.uint16) * white + 127) // 255).astype(np.uint8)


def _is_grey(picture: Image) -> bool:
    values = np.asarray(picture)
    return bool((values == values[..., :1]).all())


def _frames(files: list[Path], description: dict[str, Any], resize: bool) -> Samples:
    preprocessing = description["preprocessing"]
    frames = torch.from_numpy(np.stack([cifar10_dvs.decode(path, preprocessing["side"]) for path in files]))
    return Samples([str(path) for path in files], FrameSplit(frames, _no_labels(len(files)), preprocessing["time_steps"], False))


def _nmnist(files: list[Path], description: dict[str, Any], resize: bool) -> Samples:
    preprocessing = description["preprocessing"]
    steps, kept, bin_us = preprocessing["time_steps"], preprocessing["kept"], preprocessing["bin_us"]
    pieces = [nmnist.binned({path: 0}, kept, bin_us)["spikes"] for path in files]  # a file may be given twice
    arrays = {"spikes": np.concatenate(pieces), "start": np.cumsum([0, *map(len, pieces)])}
    return Samples([str(path) for path in files], nmnist.of_arrays(arrays, _no_labels(len(files)), steps, kept, bin_us))


def _events(files: list[Path], description: dict[str, Any], resize: bool) -> Samples:
    name, preprocessing = description["data"], description["preprocessing"]
    binning = Binning.from_dict(preprocessing["binning"])
    if name in cochlea.CLASSES:
        words = [(f"{path}[{i}]", word) for path in files for i, word in enumerate(cochlea.read_words(path))]
        if not words:
            raise UserError(f"{shortened(files[0], 150)} holds no words")
    else:
        read_events = event_sets.read_gesture if name == "dvs-gesture" else event_files.read_events
        words = [(str(path), read_events(path)) for path in files]
    arrays = recordings.joined([binning.bin(events, where) for where, events in words])
    split = recordings.split(arrays, [0] * len(words), 1, binning, preprocessing["counts"], name)
    return Samples([where for where, _ in words], split)


def _no_labels(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.int64)
